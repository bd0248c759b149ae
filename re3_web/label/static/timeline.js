// SPDX-FileCopyrightText: 2026 re3_ros contributors
// SPDX-License-Identifier: Apache-2.0

// The timeline: a row for each target with its key frames, uncertain and absent parts.

import {colorOf} from './colors.js';

const ROW = 16;          // CSS pixels
const MARGIN = 8;

// Events: 'scrub' (detail: frame), 'select' (detail: id).
export class Timeline extends EventTarget {
  #canvas;
  #count = 1;
  #frame = 0;
  #rows = [];              // {id, keys, states: [0 unknown, 1 sure, 2 uncertain, 3 absent]}
  #selected = null;

  constructor(canvas) {
    super();
    this.#canvas = canvas;
    canvas.addEventListener('pointerdown', (event) => {
      if (event.button !== 0 || !event.isPrimary) return;
      canvas.setPointerCapture(event.pointerId);
      const row = this.#rows[Math.floor((event.offsetY - MARGIN) / ROW)];
      if (row) this.#emit('select', row.id);
      this.#scrub(event);
    });
    canvas.addEventListener('pointermove', (event) => {
      if (event.buttons & 1 && event.isPrimary) this.#scrub(event);
    });
    new ResizeObserver(() => this.#resize()).observe(canvas);
  }

  show(count, frame, rows, selected) {
    this.#count = Math.max(1, count);
    this.#frame = frame;
    this.#rows = rows;
    this.#selected = selected;
    const canvas = this.#canvas;
    canvas.setAttribute('aria-valuemin', '0');
    canvas.setAttribute('aria-valuemax', String(this.#count - 1));
    canvas.setAttribute('aria-valuenow', String(frame));
    const height = `${2 * MARGIN + ROW * Math.max(1, rows.length)}px`;
    if (canvas.style.height !== height) canvas.style.height = height;
    this.draw();
  }

  #resize() {
    const ratio = window.devicePixelRatio || 1;
    this.#canvas.width = Math.round(this.#canvas.clientWidth * ratio);
    this.#canvas.height = Math.round(this.#canvas.clientHeight * ratio);
    this.draw();
  }

  #x(frame) {
    return MARGIN + (this.#canvas.clientWidth - 2 * MARGIN) * frame / this.#count;
  }

  #scrub(event) {
    const width = this.#canvas.clientWidth - 2 * MARGIN;
    const frame = Math.floor((event.offsetX - MARGIN) / width * this.#count);
    this.#emit('scrub', Math.min(this.#count - 1, Math.max(0, frame)));
  }

  draw() {
    const context = this.#canvas.getContext('2d');
    const ratio = window.devicePixelRatio || 1;
    const style = getComputedStyle(this.#canvas);
    const color = (name) => style.getPropertyValue(name);
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.clearRect(0, 0, this.#canvas.width, this.#canvas.height);
    const shades = [color('--line'), color('--ok'), color('--warn'), color('--control')];
    this.#rows.forEach((row, index) => {
      const top = MARGIN + index * ROW + 3;
      this.#drawStates(context, row.states, shades, top);
      if (row.id === this.#selected) {
        context.strokeStyle = color('--accent');
        context.lineWidth = 1.5;
        context.strokeRect(MARGIN - 2, top - 2, this.#canvas.clientWidth - 2 * MARGIN + 4, ROW - 2);
      }
      for (const frame of row.keys) {
        context.fillStyle = color('--text');
        context.fillRect(this.#x(frame + .5) - 2.5, top - 1, 5, ROW - 4);
        context.fillStyle = colorOf(row.id);
        context.fillRect(this.#x(frame + .5) - 1.5, top, 3, ROW - 6);
      }
    });
    context.fillStyle = color('--accent');
    context.fillRect(this.#x(this.#frame + .5) - 1, 0, 2, this.#canvas.clientHeight);
  }

  #drawStates(context, states, shades, top) {
    let start = 0;
    for (let frame = 1; frame <= this.#count; frame += 1) {
      if (frame < this.#count && states[frame] === states[start]) continue;
      context.fillStyle = shades[states[start] ?? 0];
      context.fillRect(this.#x(start), top, this.#x(frame) - this.#x(start), ROW - 6);
      start = frame;
    }
  }

  #emit(type, detail) {
    this.dispatchEvent(new CustomEvent(type, {detail}));
  }
}
