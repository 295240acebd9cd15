//! Layers made of tars by hand.
