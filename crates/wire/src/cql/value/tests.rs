//! Vectors of each type, both ways, and what is none.

use super::{Value, vint};
use crate::cql::types::{ColumnType, Types};
use crate::cql::writer::Writer;
use crate::limits::TYPES_MAX;
use crate::{Raw, Reader, Reason};

/// A type by its option.
fn option(bytes: &[u8]) -> ColumnType {
    let mut body = Reader::new(bytes, 0);
    let kind = Types::new().read(&mut body).unwrap();
    let mut out = Writer::default();
    kind.write(&mut out);
    assert_eq!(out.finish().unwrap(), bytes, "{kind}");
    kind
}

/// A type by its class, without the package.
fn class(name: &str) -> ColumnType {
    option(&[&[0, 0], &(name.len() as u16).to_be_bytes()[..], name.as_bytes()].concat())
}

fn native(code: u8) -> ColumnType {
    option(&[0, code])
}

/// Decodes, shows, encodes.
fn check(kind: &ColumnType, bytes: &[u8], literal: &str) {
    let value = Value::decode(kind, Raw::Bytes(bytes));
    assert_eq!(value.to_string(), literal, "{kind}");
    assert_eq!(value.encode(kind).unwrap().as_deref(), Some(bytes), "{kind} {literal}");
}

fn check_unknown(kind: &ColumnType, bytes: &[u8]) {
    assert_eq!(Value::decode(kind, Raw::Bytes(bytes)), Value::Unknown(bytes), "{kind}");
}

#[test]
fn native_types_both_ways() {
    check(&native(0x01), b"it's", "'it''s'");
    check(&native(0x02), &i64::MIN.to_be_bytes(), "-9223372036854775808");
    check(&native(0x03), &[0, 0xff], "0x00ff");
    check(&native(0x03), &[], "0x");
    check(&native(0x04), &[1], "true");
    check(&native(0x05), &7_i64.to_be_bytes(), "7");
    check(&native(0x07), &2.5_f64.to_be_bytes(), "2.5");
    check(&native(0x07), &f64::NEG_INFINITY.to_be_bytes(), "-Infinity");
    check(&native(0x07), &1e300_f64.to_be_bytes(), "1e300");
    check(&native(0x08), &0.1_f32.to_be_bytes(), "0.1");
    check(&native(0x08), &f32::NAN.to_be_bytes(), "NaN");
    check(&native(0x09), &(-7_i32).to_be_bytes(), "-7");
    check(&native(0x0B), &1_795_341_600_123_i64.to_be_bytes(), "'2026-11-22 10:00:00.123Z'");
    check(&native(0x0B), &(-1_i64).to_be_bytes(), "'1969-12-31 23:59:59.999Z'");
    check(&native(0x0B), &i64::MAX.to_be_bytes(), "9223372036854775807");
    check(&native(0x0B), &951_782_400_000_i64.to_be_bytes(), "'2000-02-29 00:00:00.000Z'");
    let uuid = 0x123e_4567_e89b_12d3_a456_4266_1417_4000_u128.to_be_bytes();
    check(&native(0x0C), &uuid, "123e4567-e89b-12d3-a456-426614174000");
    check(&native(0x0F), &uuid, "123e4567-e89b-12d3-a456-426614174000");
    check(&native(0x0D), "ü€".as_bytes(), "'ü€'");
    check(&native(0x0D), b"", "''");
    check(&native(0x0E), &[0xff, 0x00], "-256");
    check(&native(0x0E), &[0x00], "0");
    check(&native(0x0E), &[0x80; 9], "-2351923699311548792704");
    check(&native(0x10), &[127, 0, 0, 1], "'127.0.0.1'");
    check(&native(0x10), &1_u128.to_be_bytes(), "'::1'");
    check(&native(0x11), &(1_u32 << 31).to_be_bytes(), "'1970-01-01'");
    check(&native(0x11), &((1_u32 << 31) - 1).to_be_bytes(), "'1969-12-31'");
    check(&native(0x11), &0_u32.to_be_bytes(), "0");
    check(&native(0x12), &29_574_123_456_789_i64.to_be_bytes(), "'08:12:54.123456789'");
    check(&native(0x12), &(-1_i64).to_be_bytes(), "-1");
    check(&native(0x13), &(-300_i16).to_be_bytes(), "-300");
    check(&native(0x14), &[0xfb], "-5");
}

#[test]
fn decimals_both_ways() {
    let decimal = |scale: i32, unscaled: &[u8], literal: &str| {
        check(&native(0x06), &[&scale.to_be_bytes(), unscaled].concat(), literal);
    };
    decimal(0, &[5], "5");
    decimal(1, &[5], "0.5");
    decimal(1, &[0xf1], "-1.5");
    decimal(3, &[5], "0.005");
    decimal(2, &[0x04, 0xd2], "12.34");
    decimal(7, &[5], "5E-7");
    decimal(-2, &[5], "5E+2");
    decimal(-9, &[15], "1.5E+10");
    decimal(i32::MIN, &[5], "5E+2147483648");
    decimal(i32::MAX, &[1, 0], "2.56E-2147483645");
}

#[test]
fn durations_both_ways() {
    let duration = class("org.apache.cassandra.db.marshal.DurationType");
    check(&duration, &[0, 0, 0], "0mo0d0ns");
    // The protocol's own example of a vint: 256000 is folded to 512000, of three bytes.
    check(&duration, &[0x1c, 0x06, 0xc7, 0xd0, 0x00], "14mo3d256000ns");
    check(&duration, &[0x1b, 0x05, 0x01], "-14mo3d1ns");
    check(&native(0x15), &[2, 4, 6], "1mo2d3ns");
    check_unknown(&duration, &[2, 4]);
    check_unknown(&duration, &[0x80, 2, 4, 6]);
}

#[test]
fn vints_are_the_shortest_and_no_others() {
    for shift in 0..64 {
        for value in [1_u64 << shift, (1_u64 << shift) - 1, u64::MAX >> shift] {
            let mut bytes = Vec::new();
            vint::write_unsigned(value, |vint| bytes.extend_from_slice(vint));
            assert_eq!(vint::unsigned(&bytes), Some((value, &[][..])), "{value}");
            let signed = value.cast_signed();
            let mut bytes = Vec::new();
            vint::write_signed(signed, |vint| bytes.extend_from_slice(vint));
            assert_eq!(vint::signed(&bytes), Some((signed, &[][..])), "{signed}");
            for cut in 0..bytes.len() {
                assert_eq!(vint::unsigned(&bytes[..cut]), None);
            }
        }
    }
    assert_eq!(vint::unsigned(&[0x80, 1]), None, "two bytes where one is enough");
}

#[test]
fn collections_both_ways() {
    check(
        &option(&[0, 0x20, 0, 9]),
        &[0, 0, 0, 2, 0, 0, 0, 4, 0, 0, 0, 1, 0xff, 0xff, 0xff, 0xff],
        "[1, NULL]",
    );
    check(&option(&[0, 0x22, 0, 0x0d]), &[0, 0, 0, 1, 0, 0, 0, 1, b'a'], "{'a'}");
    check(
        &option(&[0, 0x21, 0, 0x0d, 0, 9]),
        &[0, 0, 0, 1, 0, 0, 0, 1, b'x', 0, 0, 0, 4, 0, 0, 0, 1],
        "{'x': 1}",
    );
    let tuple = option(&[0, 0x31, 0, 2, 0, 9, 0, 0x0d]);
    check(&tuple, &[0, 0, 0, 4, 0, 0, 0, 1, 0, 0, 0, 1, b'a'], "(1, 'a')");
    check(&tuple, &[0, 0, 0, 4, 0, 0, 0, 1], "(1)");
    check_unknown(&tuple, &[0, 0, 0, 4, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0]);
    let udt = option(b"\0\x30\0\x02ks\0\x05point\0\x02\0\x01x\0\x09\0\x01Y\0\x20\0\x09");
    assert_eq!(udt.to_string(), "ks.point");
    check(&udt, &[0, 0, 0, 4, 0, 0, 0, 1, 0, 0, 0, 4, 0, 0, 0, 0], "{x: 1, \"Y\": []}");
    let list = option(&[0, 0x20, 0, 9]);
    check_unknown(&list, &[0x7f, 0xff, 0xff, 0xff]);
    check_unknown(&list, &[0, 0, 0, 0, 0]);
    check_unknown(&list, &[0xff; 4]);
    check(&list, &[0, 0, 0, 1, 0, 0, 0, 2, 1, 2], "[0x0102]");
}

#[test]
fn vectors_both_ways() {
    let package = "org.apache.cassandra.db.marshal.";
    let floats = class(&format!("{package}VectorType({package}FloatType , 2)"));
    assert_eq!(floats.to_string(), "vector<float, 2>");
    check(&floats, &[0x3f, 0x80, 0, 0, 0, 0, 0, 0], "[1.0, 0.0]");
    check_unknown(&floats, &[0; 12]);
    check_unknown(&floats, &[0; 7]);
    let texts = class(&format!("{package}VectorType({package}UTF8Type, 2)"));
    check(&texts, b"\x01a\x02bc", "['a', 'bc']");
    check_unknown(&texts, b"\x01a\x03bc");
    let nested = class("VectorType(VectorType(Int32Type,1),2)");
    check(&nested, &[0, 0, 0, 1, 0, 0, 0, 2], "[[1], [2]]");
    let of_shorts = class("VectorType(ShortType,2)");
    check(&of_shorts, &[2, 0, 1, 2, 0, 2], "[1, 2]");
    let ColumnType::Custom(custom) = floats else { panic!() };
    let mut out = Writer::default();
    custom.meaning.unwrap().write(&mut out);
    assert_eq!(out.finish().unwrap()[4..], *custom.class.as_bytes(), "a vector that is made here");
}

#[test]
fn classes_are_understood_or_left() {
    let check = |name: &str, shown: &str| assert_eq!(class(name).to_string(), shown);
    check("org.apache.cassandra.db.marshal.ReversedType(org.apache.cassandra.db.marshal.LongType)", "bigint");
    check("ListType(FrozenType(MapType(UTF8Type,SetType(Int32Type))))", "list<map<text, set<int>>>");
    check("TupleType(AsciiType,BytesType)", "tuple<ascii, blob>");
    check("UserType(ks,706f696e74,78:Int32Type,79:ListType(Int32Type))", "ks.point");
    for name in [
        "",
        "com.example.Mine",
        "VectorType(FloatType)",
        "VectorType(FloatType,0)",
        "ListType(",
        "ListType(x)",
    ] {
        check(name, &format!("'{name}'"));
    }
    let deep = format!("{}Int32Type{}", "ListType(".repeat(40), ")".repeat(40));
    check(&deep, &format!("'{deep}'"));
    check_unknown(&class("com.example.Mine"), &[1]);
}

#[test]
fn what_does_not_fit_is_unknown() {
    for code in [0x02, 0x04, 0x05, 0x07, 0x08, 0x09, 0x0B, 0x0C, 0x0F, 0x10, 0x11, 0x12, 0x13, 0x14] {
        let kind = native(code);
        check_unknown(&kind, &[9; 3]);
        check(&kind, &[], "''");
        assert_eq!(Value::decode(&kind, Raw::Null), Value::Null);
        assert_eq!(Value::decode(&kind, Raw::Unset), Value::Unset);
    }
    check_unknown(&native(0x01), "ü".as_bytes());
    check_unknown(&native(0x0D), &[0xff]);
    check_unknown(&native(0x06), &[0, 0, 0, 1]);
    check_unknown(&native(0x0F), &[0; 16]);
    check_unknown(&native(0x77), &[1]);
}

#[test]
fn a_value_of_another_type_is_not_written() {
    let list = option(&[0, 0x20, 0, 9]);
    assert!(Value::Int(1).encode(&native(0x0D)).is_err());
    assert!(Value::List(vec![Value::Varchar("a")]).encode(&list).is_err());
    assert!(Value::Vector(vec![Value::Int(1)]).encode(&class("VectorType(Int32Type,2)")).is_err());
    assert!(Value::List(vec![Value::Unset]).encode(&list).is_err());
    assert_eq!(Value::Null.encode(&list), Ok(None));
}

#[test]
fn types_are_counted() {
    // A tuple of tuples of nothing: two bytes of count each.
    let inner = [&[0, 0x31][..], &u16::MAX.to_be_bytes(), &[0, 9].repeat(usize::from(u16::MAX))].concat();
    let bytes = [vec![0, 0x31, 0, 3], inner.repeat(3)].concat();
    let error = Types::new().read(&mut Reader::new(&bytes, 0)).unwrap_err();
    assert_eq!(error.reason, Reason::TooManyTypes);
    assert!(u32::from(u16::MAX) * 3 > TYPES_MAX);
}
