//! What numbers say, and how sure that is: formulas, each with where it comes from.

pub mod mann_whitney;
pub mod proportion;
pub mod summary;
