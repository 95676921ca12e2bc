//! A report as a table for a terminal.

use comfy_table::{CellAlignment, Table, presets};

use crate::report::{PeerResult, Report};

/// The report as one table: a line for each peer of each workload, with the ratio of our median to
/// the peer's. A peer without a result has dashes and the reason.
pub fn table(report: &Report) -> String {
    let mut table = Table::new();
    table.load_style(presets::UTF8_HORIZONTAL_ONLY);
    table.set_header(["workload", "peer", "median", "min", "max", "ours/peer", ""]);
    for workload in &report.workloads {
        let mut title = format!("{}\n{}", workload.name, workload.unit);
        let mut lines = Vec::new();
        for result in &workload.results {
            let ratio = workload.ratios.get(&result.peer);
            lines.push([
                result.peer.clone(),
                si(result.median),
                si(result.min),
                si(result.max),
                ratio.map_or_else(String::new, |ratio| format!("{ratio:.2} ×")),
                remarks(result),
            ]);
        }
        for missing in &workload.missing {
            let dash = || "–".to_owned();
            let reason = missing.reason.clone();
            lines.push([missing.peer.clone(), dash(), dash(), dash(), dash(), reason]);
        }
        let mut cells = vec![std::mem::take(&mut title)];
        cells.extend((0..6).map(|column| {
            let column: Vec<&str> = lines.iter().map(|line| &*line[column]).collect();
            column.join("\n")
        }));
        table.add_row(cells);
    }
    for index in 2..6 {
        if let Some(column) = table.column_mut(index) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    let machine = &report.machine;
    let libuv = machine.libuv.as_ref();
    let libuv = libuv.map_or_else(String::new, |version| format!(", libuv {version}"));
    format!(
        "{table}\n{}, {} cores, {}, {} build{libuv}",
        machine.cpu, machine.cores, machine.kernel, machine.build
    )
}

fn remarks(result: &PeerResult) -> String {
    let mut remarks = Vec::new();
    if let Some(share) = result.share {
        remarks.push(format!("{:.1} % delivered", share * 100.0));
    }
    if let (Some(p50), Some(p99)) = (result.p50_ns, result.p99_ns) {
        remarks.push(format!("p50 {:.1} µs, p99 {:.1} µs", p50 / 1e3, p99 / 1e3));
    }
    if let Some(bytes) = result.bytes_per_handle {
        remarks.push(format!("{bytes:.0} bytes per handle"));
    }
    remarks.join(", ")
}

/// `value` with three or four significant digits and a prefix of the SI: `313.2 k`, `18.51 M`.
pub(crate) fn si(value: f64) -> String {
    let (scaled, prefix) = match value {
        v if v >= 1e9 => (v / 1e9, " G"),
        v if v >= 1e6 => (v / 1e6, " M"),
        v if v >= 1e3 => (v / 1e3, " k"),
        v => (v, ""),
    };
    let digits = if scaled >= 100.0 { 1 } else { 2 };
    format!("{scaled:.digits$}{prefix}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::sample;

    #[test]
    fn figures_are_scaled() {
        assert_eq!(si(12.0), "12.00");
        assert_eq!(si(313_240.0), "313.2 k");
        assert_eq!(si(18_512_000.0), "18.51 M");
        assert_eq!(si(1.5e9), "1.50 G");
    }

    #[test]
    fn the_table_shows_figures_ratios_and_reasons() {
        let text = table(&sample());
        for expected in [
            "burst-1200",
            "datagrams/s",
            "200.0",
            "1.25 ×",
            "50.0 % delivered",
            "p99 12.0 µs",
            "216 bytes per handle",
            "has no timers",
        ] {
            assert!(text.contains(expected), "{expected} in\n{text}");
        }
    }
}
