//! The modules that want daemons and root; `make exams` runs them.

mod opencryptoki;
mod tpm2;
