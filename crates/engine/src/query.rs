//! Query templates.
