//! Layers merged and read back.
