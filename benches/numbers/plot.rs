//! One plot a group: both sides' medians with whiskers to their p95, on a logarithmic axis, and a mark
//! where ours would just reach its goal.

use std::path::Path;

use plotters::{
    coord::{combinators::LogScalable as _, types::RangedCoordf64},
    prelude::{
        BLACK, Cartesian2d, ChartBuilder, ChartContext, IntoDrawingArea, IntoFont as _,
        IntoLogRange as _, LogCoord, PathElement, RED, RGBColor, Rectangle, SVGBackend, ShapeStyle,
        Text, WHITE,
    },
    style::{
        Color as _,
        text_anchor::{HPos, Pos, VPos},
    },
};

use crate::sheet::{
    goals::{Form, Reach},
    row::{Row, Spread},
};

const OURS: RGBColor = RGBColor(46, 125, 50);
const THEIRS: RGBColor = RGBColor(144, 144, 144);
const WIDTH: u32 = 1100;
const LABELS: u32 = 560;
/// Pixels of one row.
const ROW: u32 = 44;

type Chart<'a> = ChartContext<'a, SVGBackend<'a>, Cartesian2d<LogCoord<f64>, RangedCoordf64>>;
type Drawn = Result<(), Box<dyn std::error::Error>>;

/// Where our number would just reach its goal.
fn mark(row: &Row) -> Option<f64> {
    let goal = match row.reach {
        Reach::AtMost(goal) | Reach::AtLeast(goal) => goal,
        Reach::Less | Reach::More => return None,
    };
    let theirs = row
        .measured
        .as_ref()?
        .other
        .as_ref()
        .map(|other| other.took.median);
    match row.form {
        Form::Itself => Some(goal),
        Form::Of => Some(theirs? * goal),
        Form::Times => Some(theirs? / goal),
    }
}

fn sides(row: &Row) -> Vec<(Spread, RGBColor)> {
    let Some(measured) = &row.measured else {
        return Vec::new();
    };
    let other = measured.other.as_ref().map(|other| (other.took, THEIRS));
    [(measured.loki, OURS)].into_iter().chain(other).collect()
}

/// Returns the powers of ten around all that is drawn.
fn range(rows: &[&Row]) -> Option<(f64, f64)> {
    let drawn = |row: &&Row| {
        let sides = sides(row).into_iter();
        let numbers = sides.flat_map(|(took, _)| [Some(took.median), took.p95]);
        numbers.flatten().chain(mark(row)).collect::<Vec<f64>>()
    };
    let all = rows.iter().flat_map(drawn);
    let all: Vec<f64> = all.filter(|number| *number > 0.0).collect();
    let least = all.iter().copied().reduce(f64::min)?;
    let most = all.iter().copied().reduce(f64::max)?;
    Some((
        10f64.powf(least.log10().floor()),
        10f64.powf(most.log10().ceil()).max(least * 2.0),
    ))
}

/// Draws the rows of a group; nothing where none was measured.
pub(crate) fn draw(path: &Path, group: &str, rows: &[&Row]) -> Drawn {
    let rows: Vec<&Row> = rows
        .iter()
        .copied()
        .filter(|row| row.measured.is_some())
        .collect();
    let Some((from, to)) = range(&rows) else {
        return Ok(());
    };
    let height = 90 + ROW * u32::try_from(rows.len())?;
    let root = SVGBackend::new(path, (WIDTH, height)).into_drawing_area();
    root.fill(&WHITE)?;
    let title = format!("{group}: Loki (green) and the other side, medians and p95; red: the goal");
    let mut chart = ChartBuilder::on(&root)
        .caption(title, ("sans-serif", 16))
        .margin_right(30)
        .x_label_area_size(30)
        .y_label_area_size(LABELS)
        .build_cartesian_2d((from..to).log_scale(), 0.0..rows.len() as f64)?;
    chart
        .configure_mesh()
        .disable_y_mesh()
        .disable_y_axis()
        .draw()?;
    for (at, row) in rows.iter().enumerate() {
        let middle = (rows.len() - at) as f64 - 0.5;
        bars(&mut chart, row, (from, middle))?;
        let pixel = chart.plotting_area().map_coordinate(&(from, middle));
        let style = ("sans-serif", 12).into_font().color(&BLACK);
        let style = style.pos(Pos::new(HPos::Right, VPos::Center));
        root.draw(&Text::new(label(row), (pixel.0 - 8, pixel.1), style))?;
    }
    root.present()?;
    Ok(())
}

fn label(row: &Row) -> String {
    let got = row.got.map_or(String::new(), |got| match row.form {
        Form::Itself => String::new(),
        _ => format!(": {got}"),
    });
    format!("{}{got} ({})", row.what.replace('`', ""), row.unit)
}

fn bars(chart: &mut Chart<'_>, row: &Row, (from, middle): (f64, f64)) -> Drawn {
    for (at, (took, colour)) in sides(row).into_iter().enumerate() {
        let top = middle + 0.38 - at as f64 * 0.38;
        let (low, high) = (top - 0.34, top);
        let end = took.median.max(from);
        let bar = Rectangle::new([(from, low), (end, high)], colour.filled());
        chart.draw_series([bar])?;
        if let Some(p95) = took.p95.filter(|p95| *p95 > 0.0) {
            let line = vec![(end, top - 0.17), (p95.as_f64(), top - 0.17)];
            chart.draw_series([PathElement::new(line, BLACK)])?;
        }
    }
    if let Some(mark) = mark(row).filter(|mark| *mark > 0.0) {
        let line = vec![(mark, middle - 0.45), (mark, middle + 0.45)];
        chart.draw_series([PathElement::new(
            line,
            ShapeStyle::from(RED).stroke_width(2),
        )])?;
    }
    Ok(())
}
