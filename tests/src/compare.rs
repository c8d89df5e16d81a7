//! Comparing two databases row by row.

use crate::database::Db;

/// Every row of a table as text, columns in the order of their names, rows sorted: two tables with the
/// same content give the same list, whatever their physical order.
#[track_caller]
pub fn table_rows(db: &Db, table: &str) -> Vec<String> {
    let columns = db.text(&format!(
        "select string_agg(quote_ident(attname), ', ' order by attname collate \"C\")
         from pg_attribute where attrelid = '{table}'::regclass and attnum > 0 and not attisdropped"
    ));
    let rows = db.rows(&format!(
        "select content from (select row({columns})::text from {table}) as whole (content)
         order by content collate \"C\""
    ));
    rows.into_iter().map(|mut row| row.swap_remove(0).expect("a row is never null")).collect()
}

/// Panics at the first difference between the table in two databases: rows of one side only, or
/// different content, our own columns `sync_id` and `sync_version` included.
#[track_caller]
pub fn assert_same_rows(left: &Db, right: &Db, table: &str) {
    let (left_rows, right_rows) = (table_rows(left, table), table_rows(right, table));
    if left_rows == right_rows {
        return;
    }
    let only = |these: &[String], those: &[String]| {
        let missing = these.iter().filter(|row| those.binary_search(row).is_err());
        missing.take(5).map(|row| format!("\n    {row}")).collect::<String>()
    };
    panic!(
        "{table} differs: {} rows in {}, {} rows in {}\n  only left:{}\n  only right:{}",
        left_rows.len(),
        left.name(),
        right_rows.len(),
        right.name(),
        only(&left_rows, &right_rows),
        only(&right_rows, &left_rows),
    );
}
