//! The pure part of Backstop: validating, judging triggers, deciding and planning
