//! Metrics of the process itself: build, memory, file descriptors, processor time.
//!
//! Names follow the client libraries of Prometheus, so that existing dashboards work.

use jiff::Timestamp;
use nix::sys::resource::{UsageWho, getrusage};
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{counter::ConstCounter, gauge::ConstGauge, info::Info},
    registry::{Registry, Unit},
};

/// Creates a registry with the metrics of this process and its build version.
pub fn registry(version: &'static str) -> Registry {
    let mut registry = Registry::default();
    registry.register("aftercall_build", "Version of this process", Info::new([("version", version)]));
    registry.register_collector(Box::new(Process { started: Timestamp::now() }));
    registry
}

/// Reads the resources of this process at each scrape.
#[derive(Debug)]
struct Process {
    started: Timestamp,
}

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), std::fmt::Error> {
        let gauge =
            |encoder: &mut DescriptorEncoder, name: &str, help: &str, unit: Option<&Unit>, value: f64| {
                let gauge = ConstGauge::new(value);
                gauge.encode(encoder.encode_descriptor(name, help, unit, gauge.metric_type())?)
            };
        let started = self.started.as_duration().as_secs_f64();
        gauge(&mut encoder, "process_start_time", "Unix time of the start", Some(&Unit::Seconds), started)?;
        if let Some(bytes) = resident_bytes() {
            let help = "Resident memory";
            gauge(&mut encoder, "process_resident_memory", help, Some(&Unit::Bytes), bytes)?;
        }
        if let Some(files) = open_files() {
            gauge(&mut encoder, "process_open_fds", "Open file descriptors", None, files)?;
        }
        if let Ok(usage) = getrusage(UsageWho::RUSAGE_SELF) {
            let seconds = |time: nix::sys::time::TimeVal| {
                #[expect(
                    clippy::cast_precision_loss,
                    reason = "a process does not run long enough to lose precision"
                )]
                let seconds = time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6;
                seconds
            };
            let used = ConstCounter::new(seconds(usage.user_time()) + seconds(usage.system_time()));
            let help = "Processor time, user and system";
            let unit = Some(&Unit::Seconds);
            used.encode(encoder.encode_descriptor("process_cpu", help, unit, used.metric_type())?)?;
        }
        Ok(())
    }
}

fn resident_bytes() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: f64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kibibytes * 1024.0)
}

#[expect(clippy::cast_precision_loss, reason = "the count is small")]
fn open_files() -> Option<f64> {
    Some(std::fs::read_dir("/proc/self/fd").ok()?.count() as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registry_has_the_metrics_of_the_process() {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry("1.2.3")).unwrap();
        assert!(text.contains("aftercall_build_info{version=\"1.2.3\"} 1"), "{text}");
        for name in [
            "process_start_time_seconds",
            "process_resident_memory_bytes",
            "process_open_fds",
            "process_cpu_seconds_total",
        ] {
            let value = text.lines().find_map(|line| line.strip_prefix(name)).expect(name);
            assert!(value.trim().parse::<f64>().unwrap() > 0.0, "{name}{value}");
        }
    }
}
