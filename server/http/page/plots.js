// SPDX-License-Identifier: Apache-2.0
// Small plots of the last minutes, drawn as SVG paths.

import {element} from "./answer.js";

const SVG = "http://www.w3.org/2000/svg";
const POINTS = 180;
const WIDTH = POINTS - 1;
const HEIGHT = 40;
const TOP = 3;  // room for the stroke

// The next 1, 2 or 5 times a power of ten.
function niceMax(value) {
  if (!(value > 0)) return 1;
  const power = 10 ** Math.floor(Math.log10(value));
  const step = [1, 2, 5, 10].find((factor) => factor * power >= value * (1 - 1e-9));
  return step * power;
}

class Line {
  constructor(svg, caption, {label, style}) {
    this.label = label;
    this.values = [];
    this.path = svg.appendChild(document.createElementNS(SVG, "path"));
    this.path.setAttribute("class", style);
    this.text = caption.appendChild(element("span", `value ${style}`));
  }

  push(value) {
    this.values.push(value);
    if (this.values.length > POINTS) this.values.shift();
  }

  // The newest value stands at the right edge; a null is a gap.
  draw(max) {
    const first = POINTS - this.values.length;
    let path = "";
    let pen = "M";
    this.values.forEach((value, index) => {
      if (value === null) {
        pen = "M";
        return;
      }
      const y = HEIGHT - 1 - (value / max) * (HEIGHT - 1 - TOP);
      path += `${pen}${first + index} ${y.toFixed(1)}`;
      pen = "L";
    });
    this.path.setAttribute("d", path);
  }
}

export class Plot {
  // `lines` is [{label, style}]; `format` makes a value text; `max` fixes the scale.
  constructor(box, {title, lines, format, max}) {
    this.title = title;
    this.format = format;
    this.max = max;
    const figure = box.appendChild(element("figure", "plot"));
    const caption = figure.appendChild(element("figcaption"));
    caption.append(element("span", "title", title));
    const canvas = figure.appendChild(element("div", "canvas"));
    this.scale = canvas.appendChild(element("span", "scale"));
    this.svg = canvas.appendChild(document.createElementNS(SVG, "svg"));
    this.svg.setAttribute("viewBox", `0 0 ${WIDTH} ${HEIGHT}`);
    this.svg.setAttribute("preserveAspectRatio", "none");
    this.svg.setAttribute("role", "img");
    this.lines = lines.map((line) => new Line(this.svg, caption, line));
  }

  // One value a line, null where there is none.
  push(values) {
    this.lines.forEach((line, index) => line.push(values[index]));
    const known = this.lines.flatMap((line) => line.values).filter((value) => value !== null);
    const max = this.max || niceMax(Math.max(0, ...known));
    this.scale.textContent = known.length > 0 ? this.format(max) : "";
    for (const line of this.lines) {
      line.draw(max);
      const value = line.values.at(-1);
      line.text.textContent = `${line.label}${line.label ? " " : ""}${value === null ? "–" : this.format(value)}`;
    }
    const now = this.lines.map((line) => line.text.textContent).join(", ");
    this.svg.setAttribute("aria-label", `${this.title}, last three minutes, now ${now}`);
  }
}
