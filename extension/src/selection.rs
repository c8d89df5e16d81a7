//! Include and exclude lists for SQL: the pattern rules themselves are the core crate's, so that
//! the database and the agent can never read a pattern differently.

use pgrx::prelude::*;
use syncjournal_core::pattern::Selection;

use crate::error::Failure;

#[pg_extern(immutable, strict, parallel_safe)]
fn relation_matches(
    schema: &str,
    relname: &str,
    include: Array<'_, &str>,
    exclude: Array<'_, &str>,
) -> bool {
    let list = |texts: &Array<'_, &str>| texts.iter().flatten().map(str::to_owned).collect();
    let (include, exclude): (Vec<String>, Vec<String>) = (list(&include), list(&exclude));
    match Selection::parse(&include, &exclude) {
        Ok(selection) => selection.selects(schema, relname),
        Err(invalid) => {
            Failure::new(PgSqlErrorCode::ERRCODE_INVALID_PARAMETER_VALUE, invalid.to_string())
                .hint("Patterns are schema.table with * and ?, as in psql.")
                .raise()
        }
    }
}
