//! A report as bar charts: one SVG for each workload, with a bar for each peer's median and a line
//! from its slowest to its fastest round.

use std::{
    error::Error,
    fs, io,
    path::{Path, PathBuf},
};

use plotters::{
    prelude::*,
    style::text_anchor::{HPos, Pos, VPos},
};

use crate::{
    peers::ours,
    report::{PeerResult, Report, WorkloadReport},
    table::si,
};

const WIDTH: u32 = 760;
const TITLE: i32 = 46;
const ROW: i32 = 34;
const BAR: i32 = 20;
const NAMES: i32 = 136;
const FIGURES: i32 = 180;
const MARGIN: i32 = 12;

const OURS: RGBColor = RGBColor(0xC2, 0x41, 0x0C);
const PEERS: RGBColor = RGBColor(0x64, 0x74, 0x8B);
const RANGE: RGBColor = RGBColor(0x1E, 0x29, 0x3B);
const TEXT: RGBColor = RGBColor(0x1E, 0x29, 0x3B);
const FONT: &str = "sans-serif";
/// Font sizes; the drawing library scales them down by 1.24 to 18 and 14 pixels.
const TITLE_FONT: f64 = 22.3;
const LABEL_FONT: f64 = 17.4;

/// Writes a chart of each workload to `directory`, as `<workload>.svg`. Returns the files.
///
/// # Errors
///
/// The error of creating the directory or of writing a file.
pub fn write(report: &Report, directory: &Path) -> io::Result<Vec<PathBuf>> {
    fs::create_dir_all(directory)?;
    let mut files = Vec::new();
    for workload in &report.workloads {
        let file = directory.join(format!("{}.svg", workload.name));
        fs::write(&file, svg(workload)?)?;
        files.push(file);
    }
    Ok(files)
}

/// The chart of one workload as the text of an SVG file.
///
/// # Errors
///
/// The error of the drawing library; drawing to memory has none.
pub fn svg(workload: &WorkloadReport) -> io::Result<String> {
    let mut text = String::new();
    draw(workload, &mut text).map_err(|error| io::Error::other(error.to_string()))?;
    Ok(text)
}

fn draw(workload: &WorkloadReport, text: &mut String) -> Result<(), Box<dyn Error>> {
    let rows = i32::try_from(workload.results.len())?;
    let height = u32::try_from(TITLE + rows * ROW + MARGIN)?;
    let fastest = workload
        .results
        .iter()
        .map(|result| result.max)
        .fold(1.0, f64::max);
    let full = f64::from(WIDTH as i32 - NAMES - FIGURES - 2 * MARGIN);
    let x = |rate: f64| NAMES + MARGIN + (rate / fastest * full).round() as i32;

    let area = SVGBackend::with_string(text, (WIDTH, height)).into_drawing_area();
    area.fill(&WHITE)?;
    let title = format!("{}, {}", workload.name, workload.unit);
    let title_style = (FONT, TITLE_FONT).into_font().color(&TEXT);
    area.draw(&Text::new(title, (MARGIN, MARGIN), title_style))?;
    for (row, result) in (0_i32..).zip(&workload.results) {
        let middle = TITLE + row * ROW + ROW / 2;
        let style = |horizontal| {
            let anchor = Pos::new(horizontal, VPos::Center);
            (FONT, LABEL_FONT).into_font().color(&TEXT).pos(anchor)
        };
        let color = if result.peer == ours::PEER.name {
            OURS
        } else {
            PEERS
        };
        area.draw(&Text::new(
            result.peer.clone(),
            (NAMES, middle),
            style(HPos::Right),
        ))?;
        area.draw(&Rectangle::new(
            [
                (x(0.0), middle - BAR / 2),
                (x(result.median), middle + BAR / 2),
            ],
            color.filled(),
        ))?;
        let range = [(x(result.min), middle), (x(result.max), middle)];
        area.draw(&PathElement::new(range.to_vec(), RANGE.stroke_width(2)))?;
        let figure = figure(workload, result);
        let after = x(result.max.max(result.median)) + 8;
        area.draw(&Text::new(figure, (after, middle), style(HPos::Left)))?;
    }
    area.present()?;
    Ok(())
}

fn figure(workload: &WorkloadReport, result: &PeerResult) -> String {
    match workload.ratios.get(&result.peer) {
        Some(ratio) => format!("{} (ours {ratio:.2} ×)", si(result.median)),
        None => si(result.median),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::sample;

    #[test]
    fn a_chart_has_a_bar_and_a_figure_for_each_peer() {
        let text = svg(&sample().workloads[0]).unwrap();
        assert!(text.trim_start().starts_with("<svg"));
        for expected in [
            "burst-1200, datagrams/s",
            "uv-udp",
            "libuv",
            "(ours 1.25 ×)",
        ] {
            assert!(text.contains(expected), "{expected}");
        }
        let bars = text.matches("<rect").count();
        assert_eq!(bars, 3, "the background and two bars");
    }

    #[test]
    fn a_workload_without_results_is_still_a_chart() {
        let mut report = sample();
        report.workloads[0].results.clear();
        assert!(svg(&report.workloads[0]).unwrap().contains("burst-1200"));
    }

    #[test]
    fn charts_are_written_as_files_named_after_the_workload() {
        let directory = std::env::temp_dir().join(format!("uv-benches-{}", std::process::id()));
        let files = write(&sample(), &directory).unwrap();
        assert_eq!(files, [directory.join("burst-1200.svg")]);
        assert!(files[0].exists());
        fs::remove_dir_all(directory).unwrap();
    }
}
