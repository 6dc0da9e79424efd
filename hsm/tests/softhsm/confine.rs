//! What a signer gives up before it loads a library.

use std::io::ErrorKind;
use std::process::Command;

use portcullis_hsm::signer::{Confined, confine};

use crate::harness::with_softhsm;

#[test]
fn a_confined_process_loads_its_library_and_starts_no_program() {
    with_softhsm(|hsm| {
        let start = || Command::new("/bin/true").status();
        assert!(start().unwrap().success());
        let confined = confine().unwrap();
        // Finds, loads, logs in and makes a token: the library is not in the way of the rules.
        let token = hsm.token(hsm.softhsm());
        assert_eq!(token.list().unwrap(), []);
        match confined {
            Confined::NoPrograms => {
                let error = start().expect_err("no programs");
                assert_eq!(error.kind(), ErrorKind::PermissionDenied);
            }
            Confined::NoNewRights => eprintln!("the kernel has no Landlock: {confined}"),
        }
        let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
        assert!(status.contains("NoNewPrivs:\t1"), "{status}");
    });
}
