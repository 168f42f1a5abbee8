//! Pieces of schema that a derive cannot say.

use schemars::{Schema, SchemaGenerator};

/// Any JSON object, kept as it is: pod templates and managed fields of whatever server version.
pub(crate) fn any_object(_: &mut SchemaGenerator) -> Schema {
    schemars::json_schema!({"type": "object", "x-kubernetes-preserve-unknown-fields": true})
}

/// A list of any JSON objects.
pub(crate) fn any_objects(_: &mut SchemaGenerator) -> Schema {
    schemars::json_schema!({
        "type": "array",
        "items": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
    })
}

/// A number of something, or a share of it: `1` or `25%`.
///
/// `minimum` speaks of numbers only, and `pattern` of strings. Under `anyOf` each would let pass
/// what the other is for. Without `maxLength` the server takes rules over it for too dear.
pub(crate) fn int_or_percent(_: &mut SchemaGenerator) -> Schema {
    schemars::json_schema!({
        "x-kubernetes-int-or-string": true,
        "minimum": 0,
        "maxLength": 4,
        "pattern": "^(100|[0-9]{1,2})%$",
    })
}

/// A port by its number or by its name: `8080` or `http`.
///
/// `maximum` speaks of numbers only, and `pattern` of strings.
pub(crate) fn port(_: &mut SchemaGenerator) -> Schema {
    schemars::json_schema!({
        "x-kubernetes-int-or-string": true,
        "minimum": 1,
        "maximum": 65535,
        "maxLength": 15,
        "pattern": "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$",
    })
}
