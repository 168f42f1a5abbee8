//! Where Backstop's readings come from: metrics queries answered as typed readings
