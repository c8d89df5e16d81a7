//! The SQL that declares native functions is written by hand (sql/). pgrx leaves what it would have
//! generated in a section of the library; this holds the two against each other.

use std::collections::{BTreeMap, BTreeSet};

use object::{Object, ObjectSection, ObjectSymbol};
use pgrx_sql_entity_graph::metadata::{SqlArrayMapping, SqlMapping};
use pgrx_sql_entity_graph::section::{ELF_SECTION_NAME, decode_entities};
use pgrx_sql_entity_graph::{
    ExternArgs, PgExternEntity, PgExternReturnEntity, SqlGraphEntity, UsedTypeEntity,
};
use syncjournal_tests::{Db, server, shared};

/// What matters about a function's declaration, types spelled as `format_type` spells them.
#[derive(Debug, PartialEq, Eq)]
struct Declaration {
    arguments: Vec<String>,
    returns: String,
    set: bool,
    strict: bool,
    volatility: char,
    parallel: char,
}

#[test]
fn native_functions_are_declared_as_pgrx_would_declare_them() {
    let db = Db::fresh(shared(0));
    let declared = declared_functions(&db);
    let library = std::fs::read(&server().library).expect("the library is installed");
    let library = object::File::parse(&*library).expect("the library is an ELF file");
    let section = library.section_by_name(ELF_SECTION_NAME).expect("pgrx leaves its section");
    let section = section.data().expect("the section can be read");

    let mut compared = 0;
    for entity in decode_entities(section).expect("the section is of the pinned version of pgrx") {
        let (symbol, wanted) = match &entity {
            SqlGraphEntity::Function(function) => {
                (format!("{}_wrapper", function.unaliased_name), generated(&db, function))
            }
            SqlGraphEntity::Trigger(trigger) => {
                (format!("{}_wrapper", trigger.function_name), trigger_declaration())
            }
            SqlGraphEntity::ExtensionRoot(_) => continue,
            other => panic!("sql/ knows nothing of this kind of pgrx object: {other:?}"),
        };
        let found =
            declared.get(&symbol).unwrap_or_else(|| panic!("sql/ does not declare {symbol}"));
        assert_eq!(*found, wanted, "{symbol}: left is sql/, right is the Rust source");
        compared += 1;
    }
    assert!(compared > 0, "the library has no function of pgrx's at all");
}

#[test]
fn every_native_function_of_the_extension_is_in_the_library() {
    let db = Db::fresh(shared(0));
    let library = std::fs::read(&server().library).expect("the library is installed");
    let library = object::File::parse(&*library).expect("the library is an ELF file");
    let symbols: BTreeSet<&str> =
        library.dynamic_symbols().filter_map(|symbol| symbol.name().ok()).collect();
    for symbol in declared_functions(&db).keys() {
        assert!(symbols.contains(symbol.as_str()), "{symbol} is not in the library");
        let info = format!("pg_finfo_{symbol}");
        assert!(symbols.contains(info.as_str()), "{info} is not in the library");
    }
}

/// The extension's functions in C, by their symbol.
fn declared_functions(db: &Db) -> BTreeMap<String, Declaration> {
    let rows = db.rows(
        "select p.prosrc, p.prorettype::regtype, p.proretset, p.proisstrict, p.provolatile,
                p.proparallel, array_to_string(array(
                    select t::regtype::text from unnest(p.proargtypes) with ordinality as a (t, n)
                    order by n), ';')
         from pg_proc p
         join pg_depend d on d.classid = 'pg_proc'::regclass and d.objid = p.oid and d.deptype = 'e'
         join pg_extension e on d.refclassid = 'pg_extension'::regclass and d.refobjid = e.oid
         join pg_language l on l.oid = p.prolang
         where e.extname = 'syncjournal' and l.lanname = 'c'",
    );
    let declarations = rows.into_iter().map(|row| {
        let [symbol, returns, set, strict, volatility, parallel, arguments] =
            <[Option<String>; 7]>::try_from(row)
                .expect("seven columns")
                .map(Option::unwrap_or_default);
        let letter = |text: String| text.chars().next().unwrap_or_default();
        let declaration = Declaration {
            arguments: arguments.split_terminator(';').map(str::to_owned).collect(),
            returns,
            set: set == "t",
            strict: strict == "t",
            volatility: letter(volatility),
            parallel: letter(parallel),
        };
        (symbol, declaration)
    });
    declarations.collect()
}

/// What pgrx would declare.
fn generated(db: &Db, function: &PgExternEntity<'_>) -> Declaration {
    let has = |attribute: ExternArgs| function.extern_attrs.contains(&attribute);
    let (returns, set) = match &function.fn_return {
        PgExternReturnEntity::None => ("void".to_owned(), false),
        PgExternReturnEntity::Type { ty } => (sql_type(db, ty), false),
        PgExternReturnEntity::SetOf { ty } => (sql_type(db, ty), true),
        PgExternReturnEntity::Iterated { tys } => match tys.as_slice() {
            [one] => (sql_type(db, &one.ty), true),
            _ => ("record".to_owned(), true),
        },
        PgExternReturnEntity::Trigger => ("trigger".to_owned(), false),
    };
    let arguments = function.fn_args.iter().map(|argument| &argument.used_ty);
    Declaration {
        // As pgrx does: a function none of whose arguments may be null is strict.
        strict: has(ExternArgs::Strict) || !arguments.clone().any(|argument| argument.optional),
        arguments: arguments
            .filter(|argument| !matches!(argument.metadata.argument_sql, Ok(SqlMapping::Skip)))
            .map(|argument| sql_type(db, argument))
            .collect(),
        returns,
        set,
        volatility: match () {
            () if has(ExternArgs::Immutable) => 'i',
            () if has(ExternArgs::Stable) => 's',
            () => 'v',
        },
        parallel: match () {
            () if has(ExternArgs::ParallelSafe) => 's',
            () if has(ExternArgs::ParallelRestricted) => 'r',
            () => 'u',
        },
    }
}

fn trigger_declaration() -> Declaration {
    Declaration {
        arguments: Vec::new(),
        returns: "trigger".to_owned(),
        set: false,
        strict: false,
        volatility: 'v',
        parallel: 'u',
    }
}

fn sql_type(db: &Db, used: &UsedTypeEntity<'_>) -> String {
    let composite = || used.composite_type.expect("a composite type has a name").to_owned();
    let spelled = match used.metadata.argument_sql.as_ref().expect("the type has an SQL name") {
        SqlMapping::As(sql) => sql.clone(),
        SqlMapping::Composite => composite(),
        SqlMapping::Array(SqlArrayMapping::As(sql)) => format!("{sql}[]"),
        SqlMapping::Array(SqlArrayMapping::Composite) => format!("{}[]", composite()),
        SqlMapping::Skip => return "void".to_owned(),
    };
    db.text(&format!("select '{}'::regtype", spelled.replace('\'', "''")))
}
