//! Imports between the rooms of the gateway point down.
