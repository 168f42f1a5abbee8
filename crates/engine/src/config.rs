//! Configuration: which ConfigMaps and Secrets are part of a release, and when they may be put back.
//!
//! Pure, as everything here: contents come in as values and go out as values. Nothing in this module
//! shows contents when it is printed.
//!
//! - [`references`](references::references): what a pod template references.
//! - [`Content`](content::Content): contents, and their identity under a key.
//! - [`identity`](identity::identity): of a release with its configuration.
//! - [`users`](users::users): who else uses an object.
//! - [`restorable`](restore::restorable): whether an object may be put back.
//! - [`hand_back`](ownership::hand_back): whose its fields are afterwards.

pub mod content;
pub mod identity;
pub mod ownership;
pub mod references;
pub mod restore;
pub mod users;
