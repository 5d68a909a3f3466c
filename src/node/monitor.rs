//! What the machine says of itself: memory, processor, disks, temperature (proc(5), and `Documentation/hwmon/sysfs-interface`
//! and `driver-api/thermal/sysfs-api` of Linux).
//!
//! Nothing is read but when somebody asks, and what is missing is left out: boards, containers and kernels differ.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use crate::status::{DiskStatus, SystemStatus};

/// Two looks at the processor are at least this far apart: the kernel counts in steps of 10 ms.
const CPU_INTERVAL: Duration = Duration::from_secs(1);
/// What no sensor that works shows.
const PLAUSIBLE_CELSIUS: std::ops::Range<f32> = -60.0..150.0;
/// Sensors that are looked at.
const SENSORS: usize = 64;

/// Asks the machine.
#[derive(Debug)]
pub(super) struct Monitor {
    /// Where `proc` and `sys` are; `/`.
    root: PathBuf,
    data: PathBuf,
    library: PathBuf,
    cpu: Mutex<Cpu>,
}

/// The processor at the last look.
#[derive(Debug)]
struct Cpu {
    looked: Instant,
    used: Option<Duration>,
    percent: Option<f32>,
}

impl Monitor {
    /// For the disks of these two folders.
    pub(super) fn new(root: &Path, data: &Path, library: &Path, now: Instant) -> Self {
        let cpu = Mutex::new(Cpu { looked: now, used: processor_time(root), percent: None });
        Self { root: root.to_owned(), data: data.to_owned(), library: library.to_owned(), cpu }
    }

    /// Everything as it is now. Reads some small files.
    pub(super) fn status(&self, now: Instant) -> SystemStatus {
        let read = |path: &str| fs::read_to_string(self.root.join(path)).unwrap_or_default();
        let (process, memory) = (read("proc/self/status"), read("proc/meminfo"));
        SystemStatus {
            memory_bytes: kib(&process, "VmRSS:"),
            memory_total_bytes: kib(&memory, "MemTotal:"),
            memory_available_bytes: kib(&memory, "MemAvailable:"),
            cpu_percent: self.cpu_percent(now),
            load: first_number(&read("proc/loadavg")),
            data_disk: disk(&self.data),
            library_disk: disk(&self.library),
            temperature_celsius: hottest(&self.root),
            uptime_s: first_number(&read("proc/uptime")).map(|seconds: f64| seconds as u64),
        }
    }

    fn cpu_percent(&self, now: Instant) -> Option<f32> {
        let mut cpu = self.cpu.lock().unwrap_or_else(PoisonError::into_inner);
        let passed = now.saturating_duration_since(cpu.looked);
        // Who asks twice in a row is told the same.
        if passed >= CPU_INTERVAL {
            let used = processor_time(&self.root);
            let percent =
                |(used, before): (Duration, Duration)| 100.0 * (used.saturating_sub(before)).div_duration_f32(passed);
            *cpu = Cpu { looked: now, used, percent: used.zip(cpu.used).map(percent) };
        }
        cpu.percent
    }
}

/// What this process has used of all cores, in user mode and in the kernel.
fn processor_time(root: &Path) -> Option<Duration> {
    let stat = fs::read_to_string(root.join("proc/self/stat")).ok()?;
    // The second field is the program's name in brackets, which may hold anything. The 14th and 15th are counted.
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace().skip(11);
    let mut ticks = || fields.next()?.parse::<u64>().ok();
    let ticks = ticks()?.checked_add(ticks()?)?;
    Some(Duration::from_secs_f64(ticks as f64 / rustix::param::clock_ticks_per_second() as f64))
}

/// The value of a line such as `MemTotal:  951320 kB`, in bytes.
fn kib(text: &str, key: &str) -> Option<u64> {
    let rest = text.lines().find_map(|line| line.strip_prefix(key))?;
    rest.trim().strip_suffix("kB")?.trim_end().parse::<u64>().ok()?.checked_mul(1024)
}

fn first_number<T: std::str::FromStr>(text: &str) -> Option<T> {
    text.split_ascii_whitespace().next()?.parse().ok()
}

fn disk(folder: &Path) -> Option<DiskStatus> {
    let disk = rustix::fs::statvfs(folder).ok()?;
    let bytes = |blocks: u64| blocks.saturating_mul(disk.f_frsize);
    Some(DiskStatus { free_bytes: bytes(disk.f_bavail), total_bytes: bytes(disk.f_blocks) })
}

/// Of all thermal zones; where there is none, of the sensors of all chips, of which some are of the kind that hangs in the air.
fn hottest(root: &Path) -> Option<f32> {
    let zones = sensors(&root.join("sys/class/thermal"), |name| name == "temp");
    zones
        .or_else(|| sensors(&root.join("sys/class/hwmon"), |name| name.starts_with("temp") && name.ends_with("_input")))
}

/// The highest value of the files with such a name in the folders of a class, which are in thousandths of a degree.
fn sensors(class: &Path, is_sensor: impl Fn(&str) -> bool) -> Option<f32> {
    let entries = |folder: &Path| fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let files = entries(class).flat_map(|device| entries(&device));
    let sensors = files.filter(|file| file.file_name().and_then(|name| name.to_str()).is_some_and(&is_sensor));
    let celsius = sensors.take(SENSORS).filter_map(|file| {
        let thousandths: f32 = fs::read_to_string(file).ok()?.trim().parse().ok()?;
        Some(thousandths / 1000.0).filter(|celsius| PLAUSIBLE_CELSIUS.contains(celsius))
    });
    celsius.max_by(f32::total_cmp)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;

    fn machine(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        files.iter().for_each(|(path, text)| write(root.path(), path, text));
        root
    }

    fn write(root: &Path, path: &str, text: &str) {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn stat(user: u64, kernel: u64) -> String {
        format!("77 (a) b (c)) S 1 77 77 0 -1 4194560 900 0 3 0 {user} {kernel} 9 9 20 0 4 0 12345 90000 500")
    }

    fn monitor(root: &tempfile::TempDir, now: Instant) -> Monitor {
        Monitor::new(root.path(), root.path(), Path::new("/no/such/folder"), now)
    }

    #[test]
    fn a_board_tells_everything() {
        let root = machine(&[
            ("proc/self/status", "Name:\tallibrary\nVmHWM:\t   20000 kB\nVmRSS:\t   14000 kB\nThreads:\t4\n"),
            ("proc/self/stat", &stat(100, 50)),
            ("proc/meminfo", "MemTotal:         951320 kB\nMemFree:  1 kB\nMemAvailable:     700000 kB\n"),
            ("proc/loadavg", "0.42 0.30 0.10 1/99 1234\n"),
            ("proc/uptime", "350735.47 1234.5\n"),
            ("sys/class/thermal/thermal_zone0/temp", "48312\n"),
            ("sys/class/thermal/thermal_zone0/type", "cpu-thermal\n"),
            ("sys/class/thermal/thermal_zone1/temp", "51000\n"),
            ("sys/class/thermal/thermal_zone2/temp", "-274000\n"),
            ("sys/class/thermal/cooling_device0/max_state", "3\n"),
            ("sys/class/hwmon/hwmon0/temp1_input", "99000\n"),
        ]);
        let start = clock::now();
        let monitor = monitor(&root, start);
        // 60 ticks of a hundredth of a second in two seconds.
        write(root.path(), "proc/self/stat", &stat(150, 60));
        let status = monitor.status(start + 2 * CPU_INTERVAL);
        assert_eq!((status.memory_bytes, status.memory_total_bytes), (Some(14_000 << 10), Some(951_320 << 10)));
        assert_eq!(status.memory_available_bytes, Some(700_000 << 10));
        assert_eq!((status.load, status.uptime_s, status.temperature_celsius), (Some(0.42), Some(350_735), Some(51.0)));
        assert!((status.cpu_percent.unwrap() - 30.0).abs() < 0.1, "{status:?}");
        let disk = status.data_disk.unwrap();
        assert!(disk.total_bytes > 0 && disk.free_bytes <= disk.total_bytes, "{disk:?}");
        assert_eq!(status.library_disk, None, "its disk is away");
    }

    #[test]
    fn the_processor_is_measured_between_looks() {
        let root = machine(&[("proc/self/stat", &stat(0, 0))]);
        let start = clock::now();
        let monitor = monitor(&root, start);
        assert_eq!(monitor.status(start + CPU_INTERVAL / 2).cpu_percent, None, "too soon to tell");
        write(root.path(), "proc/self/stat", &stat(400, 100));
        let percent = |after_s| monitor.status(start + Duration::from_secs(after_s)).cpu_percent.unwrap().round();
        assert_eq!(percent(10), 50.0);
        write(root.path(), "proc/self/stat", &stat(500, 100));
        assert_eq!(percent(10), 50.0, "asked again at once");
        assert_eq!(percent(11), 100.0);
        assert_eq!(percent(13), 0.0);
    }

    #[test]
    fn sensors_of_chips_stand_in_for_thermal_zones() {
        let root = machine(&[
            ("sys/class/hwmon/hwmon0/temp1_input", "39000\n"),
            ("sys/class/hwmon/hwmon0/temp1_max", "105000\n"),
            ("sys/class/hwmon/hwmon1/temp2_input", "nonsense\n"),
            ("sys/class/hwmon/hwmon1/fan1_input", "120000\n"),
        ]);
        assert_eq!(monitor(&root, clock::now()).status(clock::now()).temperature_celsius, Some(39.0));
    }

    #[test]
    fn what_is_missing_or_strange_is_left_out() {
        let odd = [
            ("proc/self/status", "VmRSS:\tlots\n"),
            ("proc/self/stat", "77 (cut off"),
            ("proc/meminfo", "MemTotal: 99999999999999999999 kB\n"),
            ("proc/loadavg", ""),
            ("proc/uptime", "now\n"),
        ];
        for root in [machine(&[]), machine(&odd)] {
            let start = clock::now();
            let mut status = monitor(&root, start).status(start + CPU_INTERVAL);
            assert!(status.data_disk.take().is_some());
            assert_eq!(status, SystemStatus::default());
        }
    }

    #[test]
    fn this_machine_tells_something() {
        let status = Monitor::new(Path::new("/"), Path::new("/"), Path::new("/"), clock::now()).status(clock::now());
        assert!(status.memory_bytes.is_some_and(|bytes| bytes > 1 << 20), "{status:?}");
        assert!(status.memory_total_bytes > status.memory_bytes && status.uptime_s.is_some(), "{status:?}");
    }
}
