//! Variable-length values: reading their bytes, making new ones, comparing two images.
//!
//! Invariant: what is detoasted here is freed here, so that a loop over rows does not grow.

use crate::error::Failure;
use pgrx::PgSqlErrorCode;
use pgrx::pg_sys;
use pgrx::pg_sys::Datum;
use std::slice;

/// Size of the four-byte length word in front of every varlena.
const HEADER: usize = size_of::<i32>();

/// Largest value Postgres can hold: what it allocates at most, less the header.
const MAX_VALUE_BYTES: usize = 0x3fff_ffff - HEADER;

/// Calls `read` with the plain (detoasted, decompressed) bytes of a varlena datum.
///
/// # Safety
/// `datum` must be a non-null varlena of the current backend.
pub unsafe fn with_bytes<R>(datum: Datum, read: impl FnOnce(&[u8]) -> R) -> R {
    // SAFETY: the caller vouches for the pointer; the packed form lives until freed below.
    unsafe {
        let stored = datum.cast_mut_ptr::<pg_sys::varlena>();
        let packed =
            if is_plain(stored) { stored } else { pg_sys::pg_detoast_datum_packed(stored) };
        let bytes = slice::from_raw_parts(
            pgrx::vardata_any(packed).cast::<u8>(),
            pgrx::varsize_any_exhdr(packed),
        );
        let result = read(bytes);
        if packed != stored {
            pg_sys::pfree(packed.cast());
        }
        result
    }
}

/// A new varlena with these bytes, in the current memory context.
pub fn make_varlena(bytes: &[u8]) -> Datum {
    if bytes.len() > MAX_VALUE_BYTES {
        Failure::new(
            PgSqlErrorCode::ERRCODE_PROGRAM_LIMIT_EXCEEDED,
            format!("{} bytes are too many for one value", bytes.len()),
        )
        .detail("A row, with what it replaces, is journaled as one value of less than 1 GB.")
        .hint("Keep the large columns in tables that are not tracked, or exclude them.")
        .raise();
    }
    // SAFETY: the allocation has room for the header and all bytes; palloc raises on excess.
    unsafe {
        let total = bytes.len() + HEADER;
        let fresh = pg_sys::palloc(total).cast::<pg_sys::varlena>();
        pgrx::set_varsize_4b(fresh, total as i32);
        std::ptr::copy_nonoverlapping(bytes.as_ptr(), fresh.cast::<u8>().add(HEADER), bytes.len());
        Datum::from(fresh)
    }
}

/// A palloc'd copy of fixed-length bytes (uuid, name, ...), for types passed by reference.
pub fn make_fixed(bytes: &[u8]) -> Datum {
    // SAFETY: the allocation has exactly the copied length.
    unsafe {
        let fresh = pg_sys::palloc(bytes.len()).cast::<u8>();
        std::ptr::copy_nonoverlapping(bytes.as_ptr(), fresh, bytes.len());
        Datum::from(fresh)
    }
}

/// The bytes of a fixed-length datum that is passed by reference.
///
/// # Safety
/// `datum` must point to at least `len` readable bytes that outlive the result.
pub unsafe fn fixed_bytes<'a>(datum: Datum, len: usize) -> &'a [u8] {
    // SAFETY: see above.
    unsafe { slice::from_raw_parts(datum.cast_mut_ptr::<u8>(), len) }
}

/// Whether two non-null values of one type have the same image.
///
/// Detoasts only where nothing cheaper decides: equal toast pointers are equal values (an
/// unchanged column keeps its pointer), and different raw sizes are different values.
///
/// # Safety
/// Both must be valid non-null datums of the type that `typlen` and `typbyval` describe.
pub unsafe fn datum_image_eq(a: Datum, b: Datum, typlen: i16, typbyval: bool) -> bool {
    if typbyval {
        return a.value() == b.value();
    }
    // SAFETY: the caller vouches for both datums and their type's length.
    unsafe {
        match typlen {
            -1 => varlena_eq(a, b),
            -2 => {
                let left = std::ffi::CStr::from_ptr(a.cast_mut_ptr());
                left == std::ffi::CStr::from_ptr(b.cast_mut_ptr())
            }
            len => fixed_bytes(a, len as usize) == fixed_bytes(b, len as usize),
        }
    }
}

/// # Safety
/// Both must be valid non-null varlena datums.
unsafe fn varlena_eq(a: Datum, b: Datum) -> bool {
    // SAFETY: varsize_any covers the stored form, be it inline, compressed or a toast pointer.
    unsafe {
        let (left, right) = (a.cast_mut_ptr::<pg_sys::varlena>(), b.cast_mut_ptr());
        let (left_len, right_len) = (pgrx::varsize_any(left), pgrx::varsize_any(right));
        if left_len == right_len
            && slice::from_raw_parts(left.cast::<u8>(), left_len)
                == slice::from_raw_parts(right.cast::<u8>(), right_len)
        {
            return true;
        }
        if !(is_plain(left) && is_plain(right))
            && pg_sys::toast_raw_datum_size(a) != pg_sys::toast_raw_datum_size(b)
        {
            return false;
        }
        with_bytes(a, |x| with_bytes(b, |y| x == y))
    }
}

/// Neither compressed nor out of line: its bytes can be read where they are.
///
/// # Safety
/// `value` must point to a valid varlena.
unsafe fn is_plain(value: *const pg_sys::varlena) -> bool {
    // SAFETY: reads the first header byte only.
    unsafe {
        pgrx::varatt_is_4b_u(value) || (pgrx::varatt_is_1b(value) && !pgrx::varatt_is_1b_e(value))
    }
}
