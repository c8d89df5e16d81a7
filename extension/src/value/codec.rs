//! The codec of one column.

use crate::pg::type_io::{self, IoForm, TypeIo};
use crate::pg::varlena;
use pgrx::pg_sys::{self, Datum, Oid};
use syncjournal_core::Format;

/// Ranges that the receive functions accept; values within them are taken over as they are.
const DATES: std::ops::Range<i32> = -2_451_545..2_145_031_949;
const TIMESTAMPS: std::ops::Range<i64> = -211_813_488_000_000_000..9_223_371_331_200_000_000;
const TIMES: std::ops::RangeInclusive<i64> = 0..=86_400_000_000;

/// How a column's values are written and read.
#[derive(Debug)]
enum Route {
    /// By value; big-endian bytes of this many bytes.
    Bool,
    Byte,
    Int16,
    Int32,
    Int64,
    Date,
    Time,
    Timestamp,
    Uuid,
    Bytes,
    /// Text as it lies in the row; the limit is the type's length in characters, if it has one.
    Text {
        limit: Option<usize>,
    },
    /// Text as it lies in the row, which the type's own function checks on arrival (xml, json)
    /// or brings to length (character).
    CheckedText,
    /// The type's own functions.
    Io,
}

/// Writes and reads the values of one column; holds cached look-ups.
#[derive(Debug)]
pub struct ColumnCodec {
    route: Route,
    io: TypeIo,
    needs_settings: bool,
}

impl ColumnCodec {
    /// `context` must outlive the codec: the functions' look-ups are kept in it.
    pub fn new(type_oid: Oid, typmod: i32, format: Format, context: pg_sys::MemoryContext) -> Self {
        let form = match format {
            Format::Binary | Format::Reference => IoForm::Binary,
            Format::Text => IoForm::Text,
        };
        Self {
            route: route(type_oid, typmod, form),
            io: TypeIo::new(type_oid, typmod, form, context),
            needs_settings: needs_settings(type_oid, form),
        }
    }

    /// Whether `PortableSettings` must be held while encoding. (Decoding always needs them.)
    pub fn needs_settings(&self) -> bool {
        self.needs_settings
    }

    /// Appends the value's payload to `out`.
    ///
    /// # Safety
    /// `datum` must be a non-null value of the codec's type.
    pub unsafe fn encode(&self, datum: Datum, out: &mut Vec<u8>) {
        // Passed by value, a datum's low bytes are the value (booleans and integers alike).
        let word = datum.value() as u64;
        match self.route {
            Route::Bool | Route::Byte => out.push(word as u8),
            Route::Int16 => out.extend_from_slice(&(word as u16).to_be_bytes()),
            Route::Int32 | Route::Date => out.extend_from_slice(&(word as u32).to_be_bytes()),
            Route::Int64 | Route::Time | Route::Timestamp => {
                out.extend_from_slice(&word.to_be_bytes());
            }
            // SAFETY: the caller vouches for the datum; the lengths are the type's.
            Route::Uuid => unsafe { out.extend_from_slice(varlena::fixed_bytes(datum, 16)) },
            // SAFETY: as above; these types are varlena.
            Route::Bytes => unsafe {
                varlena::with_bytes(datum, |bytes| out.extend_from_slice(bytes));
            },
            // SAFETY: as above.
            Route::Text { .. } | Route::CheckedText => unsafe {
                varlena::with_bytes(datum, |bytes| append_utf8(bytes, out));
            },
            // SAFETY: as above. The output text is in the database's encoding.
            Route::Io => unsafe {
                self.io.output(datum, |bytes| {
                    if self.io.form() == IoForm::Text {
                        append_utf8(bytes, out);
                    } else {
                        out.extend_from_slice(bytes);
                    }
                });
            },
        }
    }

    /// The value of a payload, in the current memory context. What the type does not accept is
    /// an ordinary Postgres error.
    pub fn decode(&self, bytes: &[u8]) -> Datum {
        match (&self.route, bytes.len()) {
            (Route::Bool, 1) => Datum::from(bytes[0] != 0),
            (Route::Byte, 1) => Datum::from(bytes[0] as i8),
            (Route::Int16, 2) => Datum::from(i16::from_be_bytes([bytes[0], bytes[1]])),
            (Route::Int32, 4) => Datum::from(int32(bytes)),
            (Route::Date, 4) if is_date(int32(bytes)) => Datum::from(int32(bytes)),
            (Route::Int64, 8) => Datum::from(int64(bytes)),
            (Route::Time, 8) if TIMES.contains(&int64(bytes)) => Datum::from(int64(bytes)),
            (Route::Timestamp, 8) if is_timestamp(int64(bytes)) => Datum::from(int64(bytes)),
            (Route::Uuid, 16) => varlena::make_fixed(bytes),
            (Route::Bytes, _) => varlena::make_varlena(bytes),
            (Route::Text { limit }, len) if limit.is_none_or(|limit| len <= limit) => {
                type_io::utf8_to_server(bytes, varlena::make_varlena)
            }
            (Route::CheckedText | Route::Io, _) if self.io.form() == IoForm::Text => {
                type_io::utf8_to_server(bytes, |text| self.text_input(text))
            }
            // Also a hot type whose bytes need a closer look, or the right error.
            _ => self.io.input(bytes),
        }
    }

    fn text_input(&self, text: &[u8]) -> Datum {
        if text.contains(&0) {
            pgrx::ereport!(
                ERROR,
                pgrx::PgSqlErrorCode::ERRCODE_CHARACTER_NOT_IN_REPERTOIRE,
                "invalid zero byte in a text value of the sync set"
            );
        }
        self.io.input(text)
    }
}

fn route(type_oid: Oid, typmod: i32, form: IoForm) -> Route {
    if form == IoForm::Text {
        return if type_oid == pg_sys::XMLOID { Route::CheckedText } else { Route::Io };
    }
    // Types with a precision round on arrival, which only their receive function knows.
    let plain = typmod < 0;
    match type_oid {
        pg_sys::BOOLOID => Route::Bool,
        pg_sys::CHAROID => Route::Byte,
        pg_sys::INT2OID => Route::Int16,
        pg_sys::INT4OID | pg_sys::OIDOID | pg_sys::FLOAT4OID => Route::Int32,
        pg_sys::INT8OID | pg_sys::FLOAT8OID => Route::Int64,
        pg_sys::DATEOID => Route::Date,
        pg_sys::TIMEOID if plain => Route::Time,
        pg_sys::TIMESTAMPOID | pg_sys::TIMESTAMPTZOID if plain => Route::Timestamp,
        pg_sys::UUIDOID => Route::Uuid,
        pg_sys::BYTEAOID => Route::Bytes,
        pg_sys::TEXTOID => Route::Text { limit: None },
        pg_sys::JSONOID | pg_sys::BPCHAROID => Route::CheckedText,
        pg_sys::VARCHAROID if plain => Route::Text { limit: None },
        // As many bytes as characters allowed fit in any case; varchar's typmod counts its header.
        pg_sys::VARCHAROID => Route::Text { limit: Some(usize::try_from(typmod - 4).unwrap_or(0)) },
        _ => Route::Io,
    }
}

/// Settings touch output functions, and send functions of types that hold text.
fn needs_settings(type_oid: Oid, form: IoForm) -> bool {
    let copied = !matches!(route(type_oid, -1, form), Route::Io);
    !copied && (form == IoForm::Text || !is_free_of_text(type_oid))
}

/// Types, or arrays of types, whose send form holds no text.
fn is_free_of_text(type_oid: Oid) -> bool {
    let element = type_io::element_type(type_oid).unwrap_or(type_oid);
    matches!(
        element,
        pg_sys::BOOLOID
            | pg_sys::CHAROID
            | pg_sys::INT2OID
            | pg_sys::INT4OID
            | pg_sys::INT8OID
            | pg_sys::OIDOID
            | pg_sys::FLOAT4OID
            | pg_sys::FLOAT8OID
            | pg_sys::NUMERICOID
            | pg_sys::DATEOID
            | pg_sys::TIMEOID
            | pg_sys::TIMETZOID
            | pg_sys::TIMESTAMPOID
            | pg_sys::TIMESTAMPTZOID
            | pg_sys::INTERVALOID
            | pg_sys::UUIDOID
            | pg_sys::BYTEAOID
            | pg_sys::MONEYOID
            | pg_sys::BITOID
            | pg_sys::VARBITOID
            | pg_sys::INETOID
            | pg_sys::CIDROID
            | pg_sys::MACADDROID
    )
}

fn append_utf8(bytes: &[u8], out: &mut Vec<u8>) {
    type_io::server_to_utf8(bytes, |utf8| out.extend_from_slice(utf8));
}

fn int32(bytes: &[u8]) -> i32 {
    i32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
}

fn int64(bytes: &[u8]) -> i64 {
    (i64::from(int32(bytes)) << 32) | i64::from(int32(&bytes[4..]) as u32)
}

/// The two extremes stand for infinity.
fn is_date(value: i32) -> bool {
    DATES.contains(&value) || value == i32::MIN || value == i32::MAX
}

fn is_timestamp(value: i64) -> bool {
    TIMESTAMPS.contains(&value) || value == i64::MIN || value == i64::MAX
}
