// SPDX-FileCopyrightText: 2026 re3_ros contributors
// SPDX-License-Identifier: Apache-2.0

// The tracker's diagnostics, the figures of this viewer, and the list of messages.

// The diagnostics that are shown in words; the rest is in the list of all.
const FIGURES = [
  ['Latency', ({pipeline_latency_ms_mean: mean, pipeline_latency_ms_p95: high}) =>
    number(mean) && `${number(mean)} ms, 95 % below ${number(high)} ms`],
  ['Processing', ({processing_ms_mean: mean}) => number(mean) && `${number(mean)} ms per image`],
  ['Rate', ({output_rate_hz: rate}) => number(rate) && `${number(rate)} images/s`],
  ['Images skipped', ({frames_skipped: count}) => count],
  ['Images lost on the way', ({frames_lost: count}) => count],
];
const MAX_MESSAGES = 100;
const WINDOW = 3000;    // milliseconds over which this viewer's rate is counted

function number(text) {
  const value = Number.parseFloat(text);
  return Number.isFinite(value) ? String(value < 10 ? value.toFixed(1) : Math.round(value)) : '';
}

function fill(list, rows) {
  list.replaceChildren(...rows.flatMap(([name, value]) => {
    const term = document.createElement('dt');
    term.textContent = name;
    const description = document.createElement('dd');
    description.textContent = value;
    return [term, description];
  }));
}

export class Health {
  #text;
  #figures;
  #all;
  #received = [];    // of the last images

  constructor(text, figures, all) {
    this.#text = text;
    this.#figures = figures;
    this.#all = all;
  }

  // Note an image that was shown; `age` in seconds, or null.
  received({width, height}, bytes, age) {
    const now = performance.now();
    this.#received.push({now, bytes, width, height, age});
  }

  // Forget the images of another camera.
  clear() {
    this.#received = [];
  }

  // The figures of the images of the last seconds in words, '' without any.
  #own() {
    const start = performance.now() - WINDOW;
    this.#received = this.#received.filter(({now}) => now > start);
    const last = this.#received.at(-1);
    if (!last) return '';
    const rate = this.#received.length / (WINDOW / 1000);
    const total = this.#received.reduce((sum, {bytes}) => sum + bytes, 0);
    const kilobytes = total / WINDOW;    // bytes per millisecond = kB/s
    return `${rate.toFixed(0)} images/s, ${last.width} × ${last.height}, `
      + `${kilobytes.toFixed(0)} kB/s`
      + (last.age === null || last.age > 1000 ? '' : `, ${(last.age * 1000).toFixed(0)} ms old`);
  }

  show(camera) {
    this.#text.textContent = camera?.message || 'no diagnostics yet';
    this.#text.dataset.level = camera?.level ?? 3;
    const values = camera?.values ?? {};
    const rows = FIGURES.map(([name, format]) => [name, format(values)])
      .filter(([, value]) => value);
    const own = this.#own();
    fill(this.#figures, own ? [...rows, ['This page', own]] : rows);
    fill(this.#all, Object.entries(values).sort());
  }
}

export class MessageList {
  #list;

  constructor(list) {
    this.#list = list;
  }

  add(level, text) {
    const item = document.createElement('li');
    const time = document.createElement('time');
    time.textContent = new Date().toLocaleTimeString('en-GB');
    item.dataset.level = level;
    item.append(time, text);
    this.#list.prepend(item);
    while (this.#list.children.length > MAX_MESSAGES) this.#list.lastChild.remove();
  }
}
