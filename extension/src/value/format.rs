//! In which form a type's values travel, and by which name the type is known elsewhere.

use crate::pg::type_io::{self, TypeFacts};
use pgrx::pg_sys::{self, Oid};
use syncjournal_core::Format;

/// From here on object ids are given out anew in each database, so that a send form which
/// carries one cannot be read elsewhere.
const FIRST_UNSTABLE_OID: u32 = 10_000;

/// The form for a column of this type: the send form where it means the same in every
/// database, else text.
pub fn format_for(type_oid: Oid) -> Format {
    if is_binary(type_oid) { Format::Binary } else { Format::Text }
}

fn is_binary(type_oid: Oid) -> bool {
    let Some(facts) = type_io::type_facts(type_oid) else { return false };
    // The vectors' receive functions refuse the empty ones that their send functions write.
    let is_vector = matches!(type_oid, pg_sys::INT2VECTOROID | pg_sys::OIDVECTOROID);
    let is_text = is_vector || is_object_name(type_oid) || type_oid == pg_sys::XMLOID;
    if is_text || !facts.has_binary_io {
        return false;
    }
    if let Some(element) = type_io::element_type(type_oid) {
        return is_portable_part(element);
    }
    match facts.kind {
        // A row's send form carries the object ids of its columns' types.
        pg_sys::TYPTYPE_COMPOSITE | pg_sys::TYPTYPE_PSEUDO => false,
        pg_sys::TYPTYPE_DOMAIN => inner(type_oid, facts).is_some_and(is_binary),
        pg_sys::TYPTYPE_RANGE | pg_sys::TYPTYPE_MULTIRANGE => {
            inner(type_oid, facts).is_some_and(is_portable_part)
        }
        _ => true,
    }
}

/// Whether a type may stand inside an array or range that travels in send form.
fn is_portable_part(type_oid: Oid) -> bool {
    type_oid.to_u32() < FIRST_UNSTABLE_OID && is_binary(type_oid)
}

fn inner(type_oid: Oid, facts: TypeFacts) -> Option<Oid> {
    type_io::inner_type(type_oid, facts.kind)
}

/// The types whose values are object ids of this very database: they travel by name.
fn is_object_name(type_oid: Oid) -> bool {
    matches!(
        type_oid,
        pg_sys::REGPROCOID
            | pg_sys::REGPROCEDUREOID
            | pg_sys::REGOPEROID
            | pg_sys::REGOPERATOROID
            | pg_sys::REGCLASSOID
            | pg_sys::REGTYPEOID
            | pg_sys::REGROLEOID
            | pg_sys::REGNAMESPACEOID
            | pg_sys::REGCONFIGOID
            | pg_sys::REGDICTIONARYOID
            | pg_sys::REGCOLLATIONOID
    )
}

/// Schema and name by which a type is known in another database. An array type goes by its
/// element, since the name of its own row (`_x`, `__x`, ...) is not the same everywhere.
pub fn type_identity(type_oid: Oid) -> Option<(String, String)> {
    if let Some(element) = type_io::element_type(type_oid) {
        let (schema, name) = type_identity(element)?;
        return Some((schema, name + "[]"));
    }
    let facts = type_io::type_facts(type_oid)?;
    Some((type_io::schema_name(facts.namespace)?, type_io::type_name(type_oid)?))
}

/// The type of that identity in this database.
pub fn resolve_type(schema: &str, name: &str) -> Option<Oid> {
    match name.strip_suffix("[]") {
        Some(element) => type_io::array_type(type_io::type_by_name(schema, element)?),
        None => type_io::type_by_name(schema, name),
    }
}
