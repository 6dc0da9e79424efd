//! What came out of a measurement, and what people and programs get to see of it.
//!
//! It makes no load and asks no server: everything here is made from the values in [`model`].

pub mod model;
pub mod watch;

pub mod compare;
pub mod condition;
pub mod file;
pub mod page;
pub mod quantity;
pub mod rounds;
pub mod standing;
pub mod table;

mod machine;

#[cfg(test)]
mod sample;
