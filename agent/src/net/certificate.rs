//! The hash of a server's certificate for SCRAM's channel binding (`tls-server-end-point`).
//!
//! RFC 5929 takes the hash function of the certificate's own signature, SHA-256 where that is MD5
//! or SHA-1. So much of the DER is read as leads to the signature's algorithm, and no more.

use ring::digest::{Algorithm, SHA256, SHA384, SHA512, digest};

const SEQUENCE: u8 = 0x30;
const OBJECT_IDENTIFIER: u8 = 0x06;

/// Signature algorithms by the bytes of their object identifier.
const ALGORITHMS: &[(&[u8], &Algorithm)] = &[
    // PKCS #1: md5, sha1, sha256, sha384, sha512 with RSA.
    (&[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x04], &SHA256),
    (&[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x05], &SHA256),
    (&[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0b], &SHA256),
    (&[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0c], &SHA384),
    (&[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0d], &SHA512),
    // ECDSA with sha1, sha256, sha384, sha512.
    (&[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x01], &SHA256),
    (&[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02], &SHA256),
    (&[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x03], &SHA384),
    (&[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x04], &SHA512),
];

/// None where the algorithm names no hash (Ed25519, PSS): there is no channel binding then, and
/// libpq has none either.
pub(super) fn end_point_hash(certificate: &[u8]) -> Option<Vec<u8>> {
    let oid = signature_algorithm(certificate)?;
    let (_, algorithm) = ALGORITHMS.iter().find(|(known, _)| *known == oid)?;
    Some(digest(algorithm, certificate).as_ref().to_vec())
}

/// `Certificate ::= SEQUENCE { tbsCertificate, signatureAlgorithm SEQUENCE { OID, ... }, ... }`
fn signature_algorithm(certificate: &[u8]) -> Option<&[u8]> {
    let (outer, _) = element(certificate, SEQUENCE)?;
    let (_, after_tbs) = element(outer, SEQUENCE)?;
    let (algorithm, _) = element(after_tbs, SEQUENCE)?;
    Some(element(algorithm, OBJECT_IDENTIFIER)?.0)
}

/// The content of the element at the front, and what follows it.
fn element(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (&found, rest) = der.split_first()?;
    let (&first, rest) = rest.split_first()?;
    if found != tag {
        return None;
    }
    let (length, rest) = if first < 0x80 {
        (usize::from(first), rest)
    } else {
        let count = usize::from(first & 0x7f);
        // Four bytes of length are more than any certificate has.
        if count == 0 || count > 4 || rest.len() < count {
            return None;
        }
        let (digits, rest) = rest.split_at(count);
        (digits.iter().fold(0_usize, |sum, digit| sum << 8 | usize::from(*digit)), rest)
    };
    (length <= rest.len()).then(|| rest.split_at(length))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn wrap(tag: u8, content: &[u8]) -> Vec<u8> {
        let mut der = vec![tag, 0x82];
        der.extend(u16::try_from(content.len()).unwrap().to_be_bytes());
        der.extend(content);
        der
    }

    #[test]
    fn the_hash_follows_the_signature() {
        for (oid, algorithm) in ALGORITHMS {
            let tbs = wrap(SEQUENCE, &[0; 300]);
            let signature = wrap(SEQUENCE, &wrap(OBJECT_IDENTIFIER, oid));
            let certificate = wrap(SEQUENCE, &[tbs, signature].concat());
            assert_eq!(end_point_hash(&certificate).unwrap().len(), algorithm.output_len());
        }
    }

    #[test]
    fn an_unknown_algorithm_has_none() {
        let ed25519 = wrap(SEQUENCE, &wrap(OBJECT_IDENTIFIER, &[0x2b, 0x65, 0x70]));
        let certificate = wrap(SEQUENCE, &[wrap(SEQUENCE, &[]), ed25519].concat());
        assert_eq!(end_point_hash(&certificate), None);
    }

    proptest! {
        #[test]
        fn garbage_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = end_point_hash(&bytes);
            let _ = end_point_hash(&[&[SEQUENCE, 0x84][..], &bytes].concat());
        }
    }
}
