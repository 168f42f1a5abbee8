//! Who is told what, in which words, and over which channel.
//!
//! What a message says is a plain value, a [`Message`], made from a rollback or a policy. Which channel
//! gets it, and in which words, is pure as well: [`ValidChannel::wants`] and [`ValidChannel::render`].
//! Sending is apart: a [`Target`] is a channel with the contents of its Secret, at an address that the
//! operator allows. Nothing of a Secret is in any error.
//!
//! ```
//! use backstop_notify::{Allowed, channels};
//!
//! let allowed = Allowed::new(["https://hooks.example.com"]).unwrap();
//! let specs = serde_json::from_value::<Vec<_>>(serde_json::json!([
//!     {"name": "ci", "webhook": {"url": "https://hooks.example.com/backstop"}},
//! ])).unwrap();
//! let channels = channels(&specs, &allowed).unwrap();
//! assert_eq!(channels[0].kind().as_str(), "webhook");
//! ```

mod allowed;
mod channel;
mod file;
pub mod health;
mod message;
pub mod queue;
mod render;
mod send;
mod sign;
mod target;
mod template;

pub use allowed::Allowed;
pub use channel::{ChannelKind, OPERATOR, Routed, ValidChannel, channels, usable};
pub use file::operator_channels;
pub use message::{Figures, Held, Message, Release, category, due, held, of_event, of_policy};
pub use render::{Payload, email::Mail, pager_duty::opens};
pub use send::{Failure, Reason, Receipt};
pub use target::{SecretData, Target};
