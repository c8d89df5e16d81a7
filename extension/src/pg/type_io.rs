//! The four I/O functions of a type, called with cached look-ups, and what the catalogue says
//! about types. Callers: `value`.
//!
//! Send and receive functions convert text through the *client* encoding, and output functions
//! obey several settings: callers hold `value::PortableSettings` round every call here.

use pgrx::pg_sys;
use pgrx::pg_sys::{Datum, Oid};
use std::ffi::{CStr, CString};
use std::sync::OnceLock;

/// What a cached I/O function takes: bytes of the send form, or text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IoForm {
    Binary,
    Text,
}

/// A pair of cached I/O functions of one type.
#[derive(Debug)]
pub struct TypeIo {
    form: IoForm,
    out_fn: *mut pg_sys::FmgrInfo,
    in_fn: *mut pg_sys::FmgrInfo,
    io_param: Oid,
    typmod: i32,
}

impl TypeIo {
    /// Looks the functions up; the look-ups live as long as `context`.
    pub fn new(type_oid: Oid, typmod: i32, form: IoForm, context: pg_sys::MemoryContext) -> Self {
        // SAFETY: catalogue look-ups with valid out-pointers; FmgrInfo is plain zeroable memory
        // which lives in `context` together with whatever the functions cache in it.
        unsafe {
            let (mut out_oid, mut in_oid) = (Oid::INVALID, Oid::INVALID);
            let (mut io_param, mut varlena) = (Oid::INVALID, false);
            match form {
                IoForm::Binary => {
                    pg_sys::getTypeBinaryOutputInfo(type_oid, &mut out_oid, &mut varlena);
                    pg_sys::getTypeBinaryInputInfo(type_oid, &mut in_oid, &mut io_param);
                }
                IoForm::Text => {
                    pg_sys::getTypeOutputInfo(type_oid, &mut out_oid, &mut varlena);
                    pg_sys::getTypeInputInfo(type_oid, &mut in_oid, &mut io_param);
                }
            }
            let cached = |function: Oid| {
                let size = size_of::<pg_sys::FmgrInfo>();
                let info = pg_sys::MemoryContextAllocZero(context, size).cast();
                pg_sys::fmgr_info_cxt(function, info, context);
                info
            };
            Self { form, out_fn: cached(out_oid), in_fn: cached(in_oid), io_param, typmod }
        }
    }

    pub fn form(&self) -> IoForm {
        self.form
    }

    /// Calls `write` with the value's send or output form.
    ///
    /// # Safety
    /// `datum` must be a non-null value of this type.
    pub unsafe fn output<R>(&self, datum: Datum, write: impl FnOnce(&[u8]) -> R) -> R {
        // SAFETY: the function belongs to the datum's type; its result is ours to free.
        unsafe {
            match self.form {
                IoForm::Binary => {
                    let sent = pg_sys::SendFunctionCall(self.out_fn, datum);
                    let result = super::varlena::with_bytes(Datum::from(sent), write);
                    pg_sys::pfree(sent.cast());
                    result
                }
                IoForm::Text => {
                    let text = pg_sys::OutputFunctionCall(self.out_fn, datum);
                    let result = write(CStr::from_ptr(text).to_bytes());
                    pg_sys::pfree(text.cast());
                    result
                }
            }
        }
    }

    /// The value of these bytes (binary: send form; text: in the database's encoding), in the
    /// current memory context. Bad input is an ordinary Postgres error.
    pub fn input(&self, bytes: &[u8]) -> Datum {
        // SAFETY: receive functions may write one byte past the message while they look at its
        // parts, and input functions want a terminator: hence the private copy with a NUL.
        unsafe {
            let copy = pg_sys::palloc(bytes.len() + 1).cast::<u8>();
            std::ptr::copy_nonoverlapping(bytes.as_ptr(), copy, bytes.len());
            *copy.add(bytes.len()) = 0;
            let value = match self.form {
                IoForm::Text => {
                    let text = copy.cast();
                    pg_sys::InputFunctionCall(self.in_fn, text, self.io_param, self.typmod)
                }
                IoForm::Binary => {
                    let len = bytes.len() as i32;
                    let mut message = pg_sys::StringInfoData {
                        data: copy.cast(),
                        len,
                        maxlen: len + 1,
                        cursor: 0,
                    };
                    let value = pg_sys::ReceiveFunctionCall(
                        self.in_fn,
                        &mut message,
                        self.io_param,
                        self.typmod,
                    );
                    if message.cursor != len {
                        pgrx::ereport!(
                            ERROR,
                            pgrx::PgSqlErrorCode::ERRCODE_INVALID_BINARY_REPRESENTATION,
                            "incorrect binary data format in a value of the sync set"
                        );
                    }
                    value
                }
            };
            pg_sys::pfree(copy.cast());
            value
        }
    }
}

/// The facts of `pg_type` that decide how values travel.
#[derive(Clone, Copy, Debug)]
pub struct TypeFacts {
    pub kind: u8,
    pub namespace: Oid,
    pub has_binary_io: bool,
}

/// Reads a type's row; `None` where there is no such type.
pub fn type_facts(type_oid: Oid) -> Option<TypeFacts> {
    with_type_row(type_oid, |row| TypeFacts {
        kind: row.typtype as u8,
        namespace: row.typnamespace,
        has_binary_io: row.typsend != Oid::INVALID && row.typreceive != Oid::INVALID,
    })
}

/// Name of a type's own catalogue row, without schema.
pub fn type_name(type_oid: Oid) -> Option<String> {
    with_type_row(type_oid, |row| {
        // SAFETY: a NUL-terminated field of the row.
        let name = unsafe { CStr::from_ptr(row.typname.data.as_ptr()) };
        server_to_utf8(name.to_bytes(), |utf8| String::from_utf8_lossy(utf8).into_owned())
    })
}

/// Lends a type's own catalogue row; `None` where there is no such type.
fn with_type_row<T>(type_oid: Oid, read: impl FnOnce(&pg_sys::FormData_pg_type) -> T) -> Option<T> {
    // SAFETY: a syscache tuple is valid until released, and the row is lent no longer than that.
    unsafe {
        let tuple = pg_sys::SearchSysCache1(
            pg_sys::SysCacheIdentifier::TYPEOID as i32,
            Datum::from(type_oid),
        );
        if tuple.is_null() {
            return None;
        }
        let answer = read(&*pg_sys::GETSTRUCT(tuple).cast());
        pg_sys::ReleaseSysCache(tuple);
        Some(answer)
    }
}

/// Name of a schema, `None` where it is gone.
pub fn schema_name(namespace: Oid) -> Option<String> {
    // SAFETY: the result is a palloc'd string or null.
    unsafe {
        let name = pg_sys::get_namespace_name(namespace);
        if name.is_null() {
            return None;
        }
        let bytes = CStr::from_ptr(name).to_bytes();
        Some(server_to_utf8(bytes, |utf8| String::from_utf8_lossy(utf8).into_owned()))
    }
}

/// The type of this very name (no search path), `None` where there is none.
pub fn type_by_name(schema: &str, name: &str) -> Option<Oid> {
    let schema = utf8_to_server(schema.as_bytes(), |bytes| CString::new(bytes).ok())?;
    let name = utf8_to_server(name.as_bytes(), |bytes| CString::new(bytes).ok())?;
    // SAFETY: both are NUL-terminated and live through the calls.
    unsafe {
        let namespace = pg_sys::get_namespace_oid(schema.as_ptr(), true);
        if namespace == Oid::INVALID {
            return None;
        }
        let found = pg_sys::GetSysCacheOid(
            pg_sys::SysCacheIdentifier::TYPENAMENSP as i32,
            pg_sys::Anum_pg_type_oid as i16,
            Datum::from(name.as_ptr()),
            Datum::from(namespace),
            Datum::from(0),
            Datum::from(0),
        );
        (found != Oid::INVALID).then_some(found)
    }
}

/// Element type of a true array type.
pub fn element_type(type_oid: Oid) -> Option<Oid> {
    // SAFETY: a plain catalogue look-up.
    let element = unsafe { pg_sys::get_element_type(type_oid) };
    (element != Oid::INVALID).then_some(element)
}

/// Array type over an element type.
pub fn array_type(element: Oid) -> Option<Oid> {
    // SAFETY: a plain catalogue look-up.
    let array = unsafe { pg_sys::get_array_type(element) };
    (array != Oid::INVALID).then_some(array)
}

/// What a domain, range or multirange is made of.
pub fn inner_type(type_oid: Oid, kind: u8) -> Option<Oid> {
    // SAFETY: plain catalogue look-ups.
    let inner = unsafe {
        match kind {
            pg_sys::TYPTYPE_DOMAIN => pg_sys::getBaseType(type_oid),
            pg_sys::TYPTYPE_RANGE => pg_sys::get_range_subtype(type_oid),
            pg_sys::TYPTYPE_MULTIRANGE => pg_sys::get_multirange_range(type_oid),
            _ => Oid::INVALID,
        }
    };
    (inner != Oid::INVALID).then_some(inner)
}

/// Calls `read` with the UTF-8 form of bytes that are in the database's encoding.
pub fn server_to_utf8<R>(bytes: &[u8], read: impl FnOnce(&[u8]) -> R) -> R {
    if is_utf8_database() {
        return read(bytes);
    }
    // SAFETY: the conversion gives its input back, or a palloc'd NUL-terminated copy.
    unsafe { converted(bytes, pg_sys::pg_server_to_any, read) }
}

/// Calls `read` with the database-encoded form of UTF-8 bytes; invalid bytes are an error.
pub fn utf8_to_server<R>(bytes: &[u8], read: impl FnOnce(&[u8]) -> R) -> R {
    // What is fine needs no call; of the rest the server says what is wrong.
    if is_utf8_database() && !bytes.contains(&0) && std::str::from_utf8(bytes).is_ok() {
        return read(bytes);
    }
    // SAFETY: as above. It verifies even where nothing needs conversion.
    unsafe { converted(bytes, pg_sys::pg_any_to_server, read) }
}

fn is_utf8_database() -> bool {
    static IS_UTF8: OnceLock<bool> = OnceLock::new();
    // SAFETY: the database's encoding is fixed for the backend's life.
    *IS_UTF8
        .get_or_init(|| unsafe { pg_sys::GetDatabaseEncoding() == pg_sys::pg_enc::PG_UTF8 as i32 })
}

/// # Safety
/// `convert` must be one of Postgres's encoding conversions to or from UTF-8.
unsafe fn converted<R>(
    bytes: &[u8],
    convert: unsafe fn(*const i8, i32, i32) -> *mut i8,
    read: impl FnOnce(&[u8]) -> R,
) -> R {
    // SAFETY: the source is a valid slice; a result elsewhere is palloc'd and NUL-terminated.
    unsafe {
        let source = bytes.as_ptr().cast();
        let result = convert(source, bytes.len() as i32, pg_sys::pg_enc::PG_UTF8 as i32);
        if result.cast_const() == source {
            return read(bytes);
        }
        let answer = read(CStr::from_ptr(result).to_bytes());
        pg_sys::pfree(result.cast());
        answer
    }
}
