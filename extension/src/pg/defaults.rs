//! Default values of columns that an incoming row does not have.

use super::open_table::OpenTable;
use pgrx::pg_sys::{self, Datum};

/// The default expressions of some columns of a table.
#[derive(Debug)]
pub struct Defaults {
    estate: *mut pg_sys::EState,
    columns: Vec<(usize, *mut pg_sys::ExprState)>,
}

impl Defaults {
    /// Prepares the defaults of the columns with these numbers; a column without one stays NULL.
    pub fn of(table: &OpenTable, numbers: impl Iterator<Item = i16>) -> Self {
        // SAFETY: the expressions are made for the open relation, in the state's own context.
        unsafe {
            let estate = pg_sys::CreateExecutorState();
            let outer = pg_sys::MemoryContextSwitchTo((*estate).es_query_cxt);
            let mut columns = Vec::new();
            for number in numbers {
                let expression = pg_sys::build_column_default(table.raw(), i32::from(number));
                if !expression.is_null() {
                    let planned = pg_sys::expression_planner(expression.cast());
                    let state = pg_sys::ExecInitExpr(planned, std::ptr::null_mut());
                    columns.push((usize::try_from(number).unwrap_or(1) - 1, state));
                }
            }
            pg_sys::MemoryContextSwitchTo(outer);
            Self { estate, columns }
        }
    }

    pub fn is_empty(&self) -> bool {
        self.columns.is_empty()
    }

    /// Evaluates those that `is_given` does not know, by number less one, into a row in the current
    /// memory context.
    pub fn fill(&self, values: &mut [Datum], nulls: &mut [bool], is_given: impl Fn(usize) -> bool) {
        for &(place, state) in self.columns.iter().filter(|(place, _)| !is_given(*place)) {
            // SAFETY: the expression needs no input row; its value is made in the current context.
            unsafe {
                let context = if (*self.estate).es_per_tuple_exprcontext.is_null() {
                    pg_sys::MakePerTupleExprContext(self.estate)
                } else {
                    (*self.estate).es_per_tuple_exprcontext
                };
                values[place] = pg_sys::ExecEvalExpr(state, context, &mut nulls[place]);
            }
        }
    }

    pub fn close(self) {
        // SAFETY: made by `of`, freed once.
        unsafe { pg_sys::FreeExecutorState(self.estate) };
    }
}
