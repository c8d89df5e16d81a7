//! Default values of columns that an incoming row does not have.

use super::open_table::OpenTable;
use pgrx::pg_sys::{self, Datum};

/// The default expressions of some columns of a table.
#[derive(Debug)]
pub struct Defaults {
    estate: *mut pg_sys::EState,
    columns: Vec<Column>,
}

#[derive(Debug)]
struct Column {
    /// Number less one.
    place: usize,
    state: *mut pg_sys::ExprState,
    is_volatile: bool,
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
                    let is_volatile = pg_sys::contain_volatile_functions(expression);
                    let planned = pg_sys::expression_planner(expression.cast());
                    let state = pg_sys::ExecInitExpr(planned, std::ptr::null_mut());
                    let place = usize::try_from(number).unwrap_or(1) - 1;
                    columns.push(Column { place, state, is_volatile });
                }
            }
            pg_sys::MemoryContextSwitchTo(outer);
            Self { estate, columns }
        }
    }

    pub fn is_empty(&self) -> bool {
        self.columns.is_empty()
    }

    /// Whether one that `is_given` does not know has an effect, or may look at what was just written.
    pub fn are_volatile(&self, is_given: impl Fn(usize) -> bool) -> bool {
        self.columns.iter().any(|column| column.is_volatile && !is_given(column.place))
    }

    /// Evaluates those that `is_given` does not know, by number less one, into a row in the current
    /// memory context.
    pub fn fill(&self, values: &mut [Datum], nulls: &mut [bool], is_given: impl Fn(usize) -> bool) {
        for column in self.columns.iter().filter(|column| !is_given(column.place)) {
            let &Column { place, state, .. } = column;
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
