// SPDX-FileCopyrightText: 2026 re3_ros contributors
// SPDX-License-Identifier: Apache-2.0

// The plot of confidence over time, one line per target.

import {colorOf} from './colors.js';

const SPAN = 30;       // seconds
const LEFT = 26;       // CSS pixels for the axis labels

export class ConfidencePlot {
  #canvas;
  #lines = new Map();  // id -> [[seconds, confidence], ...]
  #drawn = 0;

  constructor(canvas) {
    this.#canvas = canvas;
    const draw = () => this.#draw(performance.now() / 1000);
    new ResizeObserver(draw).observe(canvas);
    matchMedia('(prefers-color-scheme: dark)').addEventListener('change', draw);
    // The time goes on without frames, too: a camera that is gone leaves a gap.
    setInterval(() => this.add([]), 500);
  }

  clear() {
    this.#lines.clear();
    this.#draw(performance.now() / 1000);
  }

  add(tracks) {
    const now = performance.now() / 1000;
    for (const {id, confidence} of tracks) {
      if (!this.#lines.has(id)) this.#lines.set(id, []);
      this.#lines.get(id).push([now, confidence]);
    }
    for (const [id, points] of this.#lines) {
      while (points.length && points[0][0] < now - SPAN) points.shift();
      if (!points.length) this.#lines.delete(id);
    }
    if (now - this.#drawn > 0.1) this.#draw(now);
  }

  #draw(now) {
    this.#drawn = now;
    const ratio = window.devicePixelRatio || 1;
    const width = this.#canvas.clientWidth;
    const height = this.#canvas.clientHeight;
    if (this.#canvas.width !== Math.round(width * ratio)) {
      this.#canvas.width = Math.round(width * ratio);
      this.#canvas.height = Math.round(height * ratio);
    }
    const context = this.#canvas.getContext('2d');
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.clearRect(0, 0, width, height);
    const style = getComputedStyle(this.#canvas);
    const x = (time) => LEFT + (width - LEFT - 4) * (1 - (now - time) / SPAN);
    const y = (value) => 6 + (height - 12) * (1 - value);
    context.font = '11px system-ui, sans-serif';
    context.textBaseline = 'middle';
    for (const value of [0, 0.5, 1]) {
      context.strokeStyle = style.getPropertyValue('--line');
      context.lineWidth = 1;
      context.beginPath();
      context.moveTo(LEFT, y(value));
      context.lineTo(width - 4, y(value));
      context.stroke();
      context.fillStyle = style.getPropertyValue('--quiet');
      context.fillText(value.toFixed(1), 2, y(value));
    }
    for (const [id, points] of this.#lines) {
      context.strokeStyle = colorOf(id);
      context.lineWidth = 2;
      context.lineJoin = 'round';
      context.beginPath();
      points.forEach(([time, value], index) => {
        const gap = index === 0 || time - points[index - 1][0] > 1;
        context[gap ? 'moveTo' : 'lineTo'](x(time), y(value));
      });
      context.stroke();
    }
  }
}
