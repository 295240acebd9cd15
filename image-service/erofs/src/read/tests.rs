//! Images read back through the reader.
