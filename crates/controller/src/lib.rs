//! The shell of Backstop: watches, reconcilers, executor, leader election, metrics
