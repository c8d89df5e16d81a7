//! Include and exclude lists for SQL: the pattern rules themselves are the core crate's, so that
//! the database and the agent can never read a pattern differently.

use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;
use syncjournal_core::pattern::Selection;

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
            ErrorReport::new(
                PgSqlErrorCode::ERRCODE_INVALID_PARAMETER_VALUE,
                invalid.to_string(),
                "relation_matches",
            )
            .set_hint("Patterns are schema.table with * and ?, as in psql.")
            .report(PgLogLevel::ERROR);
            unreachable!("an ERROR does not return");
        }
    }
}
