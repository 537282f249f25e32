//! What a stream tells its consumer, under the name that this room knows it by.

pub use crate::io::{Events, Observer, Read};
