// SPDX-FileCopyrightText: 2026 re3_ros contributors
// SPDX-License-Identifier: Apache-2.0

// The frame with boxes: draws it, and turns pointer and keys into new and changed boxes.

import {drawLabel, moveBox, outline} from './boxes.js';
import {colorOf} from './colors.js';

const CLICK = 6;             // a drag shorter than this (CSS pixels) is a click
const HANDLE = {mouse: 9, touch: 24, pen: 16};    // reach of a box's edges in CSS pixels

// Events: 'box' (detail: xyxy in pixels), 'select' (detail: id or null), 'cancel', 'editing'.
export class FrameView extends EventTarget {
  #canvas;
  #size = [16, 9];
  #bitmap = null;
  #boxes = [];         // {id, box, key, occluded, uncertain}
  #selected = null;
  #drag = null;        // {box, edges: [dx1, dy1, dx2, dy2] that follow the pointer, from, start}
  #byKeys = false;

  constructor(canvas) {
    super();
    this.#canvas = canvas;
    canvas.addEventListener('pointerdown', (event) => this.#press(event));
    canvas.addEventListener('pointermove', (event) => this.#move(event));
    canvas.addEventListener('pointerup', (event) => this.#release(event));
    canvas.addEventListener('pointercancel', () => this.cancel());
    canvas.addEventListener('keydown', (event) => this.#key(event));
    new ResizeObserver(() => this.#resize()).observe(canvas);
  }

  // Whether the image is that of the chosen frame: boxes can be drawn.
  ready = false;

  get drawing() { return this.#drag !== null; }

  get side() {
    return Math.max(1, Math.round(Math.max(this.#canvas.width, this.#canvas.height)));
  }

  set size(size) {
    this.#size = size;
    this.#canvas.style.aspectRatio = `${size[0]} / ${size[1]}`;
    this.#resize();
  }

  show(bitmap, boxes, selected) {
    this.#bitmap = bitmap ?? this.#bitmap;
    this.#boxes = boxes;
    this.#selected = selected;
    this.draw();
  }

  cancel() {
    this.#drag = null;
    this.#byKeys = false;
    this.draw();
  }

  #resize() {
    const ratio = window.devicePixelRatio || 1;
    const {clientWidth, clientHeight} = this.#canvas;
    this.#canvas.width = Math.round(clientWidth * ratio);
    this.#canvas.height = Math.round(clientHeight * ratio);
    this.draw();
  }

  // Scale and offset from image pixels to CSS pixels: whole image, centered.
  #fit() {
    const {clientWidth, clientHeight} = this.#canvas;
    const [width, height] = this.#size;
    const scale = Math.min(clientWidth / width, clientHeight / height);
    return {scale, left: (clientWidth - scale * width) / 2,
      top: (clientHeight - scale * height) / 2};
  }

  // ---- drawing ----

  draw() {
    const context = this.#canvas.getContext('2d');
    const ratio = window.devicePixelRatio || 1;
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.clearRect(0, 0, this.#canvas.width, this.#canvas.height);
    if (!this.#bitmap) return;
    const {scale, left, top} = this.#fit();
    context.drawImage(this.#bitmap, left, top, scale * this.#size[0], scale * this.#size[1]);
    const toScreen = ([x1, y1, x2, y2]) => [left + scale * x1, top + scale * y1,
      scale * (x2 - x1), scale * (y2 - y1)];
    for (const item of this.#boxes) {
      if (item.id === this.#selected && this.#drag) continue;
      this.#drawBox(context, item, toScreen(item.box));
    }
    if (this.#drag) outline(context, toScreen(this.#drag.box), '#ffffff', 2, [6, 4]);
  }

  #drawBox(context, {id, key, occluded, uncertain}, box) {
    const color = colorOf(id);
    outline(context, box, color, id === this.#selected ? 3.5 : 2, uncertain ? [7, 5] : []);
    const marks = [key ? 'key' : '', occluded ? 'occluded' : '', uncertain ? 'uncertain' : ''];
    const text = [id, ...marks.filter(Boolean)].join('  ');
    drawLabel(context, text, box, color, this.#canvas);
  }

  // ---- pointer ----

  #locate(event) {
    const {scale, left, top} = this.#fit();
    const clamp = (value, most) => Math.min(most, Math.max(0, value));
    return [clamp((event.offsetX - left) / scale, this.#size[0]),
      clamp((event.offsetY - top) / scale, this.#size[1])];
  }

  // The edges of the selected box that a drag from a point moves; null: it begins a new box.
  #edgesAt([x, y], kind) {
    const selected = this.#boxes.find(({id}) => id === this.#selected);
    if (!selected) return null;
    const [x1, y1, x2, y2] = selected.box;
    const reach = (HANDLE[kind] ?? HANDLE.mouse) / this.#fit().scale;
    if (x < x1 - reach || x > x2 + reach || y < y1 - reach || y > y2 + reach) return null;
    // In a small box, the middle third moves it.
    const inner = (low, high) => Math.min(reach, (high - low) / 3);
    const edges = [x < x1 + inner(x1, x2), y < y1 + inner(y1, y2),
      x > x2 - inner(x1, x2), y > y2 - inner(y1, y2)];
    return {box: selected.box, edges: edges.some(Boolean) ? edges : [true, true, true, true]};
  }

  #press(event) {
    if (!this.#bitmap || !this.ready || event.button !== 0 || !event.isPrimary) return;
    this.#canvas.setPointerCapture(event.pointerId);
    const point = this.#locate(event);
    this.#byKeys = false;
    const found = this.#edgesAt(point, event.pointerType);
    const [x, y] = point;
    this.#drag = found ? {...found, from: found.box, start: point}
      : {box: [x, y, x, y], edges: [false, false, true, true], from: [x, y, x, y], start: point};
  }

  #move(event) {
    if (!this.#drag || this.#byKeys || !event.isPrimary) return;
    const [x, y] = this.#locate(event);
    const {edges, from, start} = this.#drag;
    let shift = [x - start[0], y - start[1]];
    if (edges.every(Boolean)) {     // the whole box stays in the image
      shift = shift.map((value, axis) => Math.min(this.#size[axis] - from[axis + 2],
        Math.max(-from[axis], value)));
    }
    this.#drag.box = from.map((value, side) => edges[side] ? value + shift[side % 2] : value);
    this.draw();
  }

  #release(event) {
    if (!this.#drag || this.#byKeys || !event.isPrimary) return;
    this.#move(event);
    const {start} = this.#drag;
    const [x, y] = this.#locate(event);
    if (Math.hypot(x - start[0], y - start[1]) * this.#fit().scale < CLICK) {
      this.cancel();
      this.#emit('select', this.#at(x, y));
    } else {
      this.#send();
    }
  }

  // The smallest box around a point.
  #at(x, y) {
    const area = ({box: [x1, y1, x2, y2]}) => (x2 - x1) * (y2 - y1);
    const around = this.#boxes.filter(({box: [x1, y1, x2, y2]}) =>
      x1 <= x && x <= x2 && y1 <= y && y <= y2);
    return around.sort((a, b) => area(a) - area(b))[0]?.id ?? null;
  }

  #send() {
    const [x1, y1, x2, y2] = this.#drag.box;
    this.cancel();
    const box = [Math.min(x1, x2), Math.min(y1, y2), Math.max(x1, x2), Math.max(y1, y2)];
    if (box[2] - box[0] >= 1 && box[3] - box[1] >= 1) this.#emit('box', box);
  }

  // ---- keys ----

  #key(event) {
    if (event.ctrlKey || event.altKey || event.metaKey) return;
    const name = event.key.length === 1 ? event.key.toLowerCase() : event.key;
    const action = this.#byKeys ? this.#editKey(name, event.shiftKey)
      : {b: () => this.#startByKeys()}[name];
    if (!action) return;
    event.preventDefault();
    event.stopPropagation();
    action();
  }

  #editKey(name, resize) {
    const step = Math.max(...this.#size) / 100;
    const shift = (dx, dy) => () => {
      this.#drag.box = moveBox(this.#drag.box, dx, dy, resize, this.#size, step);
      this.draw();
    };
    return {ArrowLeft: shift(-step, 0), ArrowRight: shift(step, 0), ArrowUp: shift(0, -step),
      ArrowDown: shift(0, step), Enter: () => this.#send(),
      Escape: () => { this.cancel(); this.#emit('cancel'); }}[name];
  }

  #startByKeys() {
    if (!this.#bitmap || !this.ready) return;
    const [width, height] = this.#size;
    const selected = this.#boxes.find(({id}) => id === this.#selected);
    const box = selected?.box ?? [width * 3 / 8, height * 3 / 8, width * 5 / 8, height * 5 / 8];
    this.#drag = {box: [...box], edges: [], from: box, start: box};
    this.#byKeys = true;
    this.draw();
    this.#emit('editing');
  }

  #emit(type, detail) {
    this.dispatchEvent(new CustomEvent(type, {detail}));
  }
}
