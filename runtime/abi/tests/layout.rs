//! Layout of the interface: pinned numbers, and equality with the C header.

use std::{fmt::Write as _, mem::offset_of, path::Path, process::Command};

use sideline_abi::*;
use sideline_testkit::{Capability, skip_test};

/// Lists a struct with its C name, and the offset of every member.
macro_rules! layout {
    ($($rust:ident as $c:literal { $($member:ident),* $(,)? })*) => {
        vec![$(($c, size_of::<$rust>(), vec![$((stringify!($member), offset_of!($rust, $member))),*])),*]
    };
}

/// C name, size, and offset of each member of a struct.
type Layout = (&'static str, usize, Vec<(&'static str, usize)>);

fn layouts() -> Vec<Layout> {
    layout! {
        Text as "sideline_text" { data, length }
        Plane as "sideline_plane" { data, length, stride }
        ArrowArray as "struct ArrowArray" {
            length, null_count, offset, n_buffers, n_children, buffers, children, dictionary, release, private_data,
        }
        ArrowSchema as "struct ArrowSchema" {
            format, name, metadata, flags, n_children, children, dictionary, release, private_data,
        }
        Frame as "sideline_frame" {
            size, width, height, encoding, matrix, is_full_range, plane_count, planes, owner, retain, release,
        }
        Header as "sideline_header" { size, stream, frame, pts, captured_at, dropped, session, is_closing }
        Message as "sideline_message" {
            size, kind, reserved, header, number, end_frames, reason, table, schema, frame,
        }
        Input as "sideline_input" { size, message, side, side_count }
        Call as "sideline_call" { size, header, seed, inputs, input_count, outputs }
        Make as "sideline_make" {
            size, host, node, mode, reserved, values, inputs, input_count, is_read, output_count, resources,
        }
        Host as "sideline_host" {
            size, context, fail, write, log, count, model, now, number, text, set_table, set_frame, set_skipped,
        }
        Plugin as "sideline_plugin_t" {
            size, magic, abi_major, abi_minor, description, check, make, process, stream_ended, snapshot, roll_back, save,
            load, reconfigure, close, drop,
        }
    }
}

fn constants() -> Vec<(&'static str, u64)> {
    macro_rules! constants {
        ($($name:ident),* $(,)?) => { vec![$((concat!("SIDELINE_", stringify!($name)), $name as u64)),*] };
    }
    constants!(
        MAGIC,
        ABI_MAJOR,
        ABI_MINOR,
        OK,
        ERROR,
        PANIC,
        KIND_TABLE,
        KIND_FRAME,
        KIND_SKIPPED,
        KIND_END,
        ENCODING_I420,
        ENCODING_NV12,
        ENCODING_RGB8,
        ENCODING_BGR8,
        ENCODING_JPEG,
        MATRIX_BT601,
        MATRIX_BT709,
        MODE_LIVE,
        MODE_COMPLETE,
        FAILURE_CONFIG,
        FAILURE_MODEL,
        FAILURE_INPUT,
        FAILURE_OUTPUT,
        FAILURE_GPU,
        FAILURE_OTHER,
        LOG_ERROR,
        LOG_WARN,
        LOG_INFO,
        LOG_DEBUG,
    )
}

/// A change of one of these numbers breaks every plugin that was built before: members are appended only, which makes the last
/// number of a struct greater and changes no other.
#[test]
#[cfg(target_pointer_width = "64")]
fn sizes_and_offsets_are_those_of_version_1() {
    let pinned: [(&str, usize, &[usize]); 12] = [
        ("sideline_text", 16, &[0, 8]),
        ("sideline_plane", 24, &[0, 8, 16]),
        ("struct ArrowArray", 80, &[0, 8, 16, 24, 32, 40, 48, 56, 64, 72]),
        ("struct ArrowSchema", 72, &[0, 8, 16, 24, 32, 40, 48, 56, 64]),
        ("sideline_frame", 128, &[0, 8, 12, 16, 20, 24, 28, 32, 104, 112, 120]),
        ("sideline_header", 64, &[0, 8, 24, 32, 40, 48, 56, 60]),
        ("sideline_message", 80, &[0, 8, 12, 16, 24, 32, 40, 56, 64, 72]),
        ("sideline_input", 32, &[0, 8, 16, 24]),
        ("sideline_call", 48, &[0, 8, 16, 24, 32, 40]),
        ("sideline_make", 104, &[0, 8, 16, 32, 36, 40, 56, 64, 72, 80, 88]),
        ("sideline_host", 104, &[0, 8, 16, 24, 32, 40, 48, 56, 64, 72, 80, 88, 96]),
        ("sideline_plugin_t", 128, &[0, 8, 16, 20, 24, 40, 48, 56, 64, 72, 80, 88, 96, 104, 112, 120]),
    ];
    for ((name, size, members), (pinned_name, pinned_size, pinned_offsets)) in layouts().into_iter().zip(pinned) {
        let offsets: Vec<usize> = members.iter().map(|(_, offset)| *offset).collect();
        assert_eq!((name, size, &offsets[..]), (pinned_name, pinned_size, pinned_offsets));
    }
    let values: Vec<u64> = constants().iter().map(|(_, value)| *value).collect();
    let pinned =
        [0x454e_494c_4544_4953, 1, 0, 0, 1, 2, 1, 2, 3, 4, 0, 1, 2, 3, 4, 0, 1, 0, 1, 1, 2, 3, 4, 5, 6, 1, 2, 3, 4];
    assert_eq!(values, pinned);
}

#[test]
fn the_c_header_is_equal() {
    let header = Path::new(env!("CARGO_MANIFEST_DIR")).join("include/sideline.h");
    let mut source = String::from("#include \"sideline.h\"\n");
    for (name, size, members) in layouts() {
        let _ = writeln!(source, "_Static_assert(sizeof({name}) == {size}, \"{name}\");");
        for (member, offset) in members {
            let _ = writeln!(source, "_Static_assert(offsetof({name}, {member}) == {offset}, \"{name}.{member}\");");
        }
    }
    for (name, value) in constants() {
        let _ = writeln!(source, "_Static_assert({name} == UINT64_C({value}), \"{name}\");");
    }
    let folder = std::env::temp_dir().join(format!("sideline-abi-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let file = folder.join("layout.c");
    std::fs::write(&file, source).unwrap();
    let compiled = Command::new("gcc")
        .args(["-std=c11", "-Wall", "-Wextra", "-Werror", "-fsyntax-only", "-I"])
        .arg(header.parent().unwrap())
        .arg(&file)
        .output();
    std::fs::remove_dir_all(&folder).unwrap();
    match compiled {
        Ok(output) => assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr)),
        Err(_) => skip_test(Capability::Compiler, "there is no gcc"),
    }
}

/// Counts the members of the header's structs, so that one that is missing above is noticed.
#[test]
fn every_struct_and_member_is_listed() {
    let text = include_str!("../include/sideline.h");
    for (name, _, members) in layouts() {
        let name = name.trim_start_matches("struct ");
        let start = text.find(&format!("struct {name} {{")).unwrap_or_else(|| panic!("{name} is not in the header"));
        let body = &text[start..start + text[start..].find("\n}").unwrap()];
        let without_comments: String = body.split("/*").map(|part| part.rsplit("*/").next().unwrap()).collect();
        assert_eq!(without_comments.matches(';').count(), members.len(), "{name}");
    }
}
