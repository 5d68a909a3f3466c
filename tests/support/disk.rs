//! A disk whose power can be cut: ext4 in a file, on a loop device. Needs root.
//!
//! A killed process leaves what it wrote to the kernel, which writes it later: killing alone proves nothing about power.
//! [`Disk::cut`] stops the file system at once, as a cut of the power does: what was not synced is lost.

use std::{
    fs::{self, File},
    os::fd::AsRawFd,
    path::{Path, PathBuf},
    process::Command,
};

/// A mounted file system. It is unmounted when the test's thread ends, however it ends.
pub struct Disk {
    image: PathBuf,
    folder: PathBuf,
}

impl Disk {
    /// Makes a disk of this size, and mounts it. The thread's mounts are its own from then on: what it starts later sees
    /// them, and a program that is to outlive a cut must be started before.
    pub fn new(image: &Path, folder: &Path, bytes: u64) -> Self {
        own_mounts();
        File::create_new(image).and_then(|file| file.set_len(bytes)).expect("a test's own folder");
        // Made whole at once: no thread of the kernel goes on writing.
        let whole = ["-q", "-m", "0", "-N", "16384", "-E", "lazy_itable_init=0,lazy_journal_init=0"];
        run(Command::new("mkfs.ext4").args(whole).arg(image));
        fs::create_dir_all(folder).expect("a test's own folder");
        let disk = Self { image: image.to_owned(), folder: folder.to_owned() };
        disk.mount();
        disk
    }

    /// Cuts the power: nothing reaches the disk any more, and what had not is lost.
    pub fn cut(&self) {
        // include/uapi/linux/ext4.h: EXT4_IOC_SHUTDOWN, EXT4_GOING_FLAGS_NOLOGFLUSH.
        const SHUTDOWN: u32 = 0x8004_587d;
        const NO_LOG_FLUSH: u32 = 2;
        let folder = File::open(&self.folder).expect("the disk is mounted");
        // SAFETY: the kernel reads one u32, which lives until the call returns.
        let done = unsafe { libc::ioctl(folder.as_raw_fd(), SHUTDOWN as _, &NO_LOG_FLUSH) };
        assert_eq!(done, 0, "cutting the power: {}", std::io::Error::last_os_error());
    }

    /// Brings the power back after a cut. All that used the disk has ended.
    pub fn restore(&self) {
        run(Command::new("umount").arg(&self.folder));
        let left = Command::new("losetup").arg("-j").arg(&self.image).output().expect("losetup runs").stdout;
        assert!(left.is_empty(), "something still uses the disk: {}", String::from_utf8_lossy(&left));
        self.mount();
    }

    /// Pulls it out, after what was written is on it, as careful people do. The empty folder stays.
    pub fn unplug(&self) {
        run(Command::new("umount").arg(&self.folder));
    }

    /// Plugs it in again, at this folder.
    pub fn plug(&mut self, folder: &Path) {
        fs::create_dir_all(folder).expect("a test's own folder");
        self.folder = folder.to_owned();
        self.mount();
    }

    fn mount(&self) {
        run(Command::new("mount").args(["-t", "ext4", "-o", "loop"]).arg(&self.image).arg(&self.folder));
    }
}

/// Gives the thread mounts of its own: what it starts later sees them too.
pub fn own_mounts() {
    // SAFETY: asks for a number and cannot fail.
    let root = unsafe { libc::geteuid() } == 0;
    assert!(root, "NOT CHECKED: this test mounts disks of its own: run it as root");
    // SAFETY: gives this thread a view of the mounts of its own, and touches no memory.
    let own = unsafe { libc::unshare(libc::CLONE_NEWNS) };
    assert_eq!(own, 0, "mounts of its own: {}", std::io::Error::last_os_error());
    run(Command::new("mount").args(["--make-rprivate", "/"]));
}

/// Runs a command that must succeed.
pub fn run(command: &mut Command) {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Builds a library that makes all of a program's syncs do nothing; the environment variable `LD_PRELOAD` loads it.
pub fn without_syncs(folder: &Path) -> PathBuf {
    let (source, library) = (folder.join("without_syncs.c"), folder.join("without_syncs.so"));
    let calls = [
        "fsync(int fd)",
        "fdatasync(int fd)",
        "sync_file_range(int fd, long long offset, long long bytes, unsigned flags)",
    ];
    let text: String = calls.map(|call| format!("int {call} {{ return 0; }}\n")).concat();
    fs::write(&source, text).expect("a test's own folder");
    run(Command::new("cc").args(["-shared", "-fPIC", "-Wno-unused-parameter", "-o"]).arg(&library).arg(&source));
    library
}
