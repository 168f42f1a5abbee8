//! Black-box tests of Backstop against a real API server
