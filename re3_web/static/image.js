// SPDX-FileCopyrightText: 2026 re3_ros contributors
// SPDX-License-Identifier: Apache-2.0

// The image with boxes: draws it, and turns pointer and keys into boxes and selections.

import {drawLabel, moveBox, outline} from './boxes.js';
import {colorOf} from './colors.js';

const CLICK = 6;             // a drag shorter than this (CSS pixels) is a click

// Events: 'box' (detail: {box, stamp, camera}), 'select' (detail: id or null), 'pause', 'remove',
// 'next', 'cancel'.
export class ImageView extends EventTarget {
  #canvas;
  #shown = null;       // {camera, stamp, size, bitmap, tracks}: the image that is drawn
  #newest = null;      // what arrived while the image is held
  #states = {};
  #selected = null;
  #paused = false;
  #drag = null;        // {x1, y1, x2, y2} in image pixels, from a fixed to a moving corner
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

  get shown() { return this.#shown; }
  get drawing() { return this.#drag !== null; }

  // The longest side at which an image is shown, in pixels of the screen.
  get side() {
    return Math.max(1, Math.round(Math.max(this.#canvas.width, this.#canvas.height)));
  }

  set paused(paused) {
    this.#paused = paused;
    if (!paused) this.#catchUp();
  }

  set selected(id) {
    this.#selected = id;
    this.draw();
  }

  set states(states) {
    this.#states = states;
  }

  clear() {
    this.#shown = this.#newest = null;
    this.cancel();
    this.draw();
  }

  // Show a frame; one without an image moves the boxes only. A held image stays with its boxes.
  show(header, bitmap) {
    const frame = bitmap ? {...header, bitmap}
      : {...(this.#newest ?? this.#shown), tracks: header.tracks};
    if (!frame.bitmap) return;
    this.#newest = frame;
    this.#catchUp();
  }

  cancel() {
    this.#drag = null;
    this.#byKeys = false;
    this.#catchUp();
    this.draw();
  }

  // ---- drawing ----

  #catchUp() {
    if (this.#paused || this.#drag || !this.#newest) return;
    const before = this.#shown;
    this.#shown = this.#newest;
    this.#newest = null;
    if (before && before.bitmap !== this.#shown.bitmap) before.bitmap.close();
    const [width, height] = this.#shown.size;
    this.#canvas.style.aspectRatio = `${width} / ${height}`;
    this.draw();
  }

  #resize() {
    const ratio = window.devicePixelRatio || 1;
    const {clientWidth, clientHeight} = this.#canvas;
    this.#canvas.width = Math.round(clientWidth * ratio);
    this.#canvas.height = Math.round(clientHeight * ratio);
    this.draw();
  }

  // Scale and offset from image pixels to canvas pixels: whole image, centered.
  #fit() {
    const [width, height] = this.#shown.size;
    const scale = Math.min(this.#canvas.width / width, this.#canvas.height / height);
    return {scale, left: (this.#canvas.width - scale * width) / 2,
      top: (this.#canvas.height - scale * height) / 2};
  }

  draw() {
    const context = this.#canvas.getContext('2d');
    context.clearRect(0, 0, this.#canvas.width, this.#canvas.height);
    if (!this.#shown) return;
    const {scale, left, top} = this.#fit();
    const [width, height] = this.#shown.size;
    context.drawImage(this.#shown.bitmap, left, top, scale * width, scale * height);
    const ratio = window.devicePixelRatio || 1;
    const toScreen = ([x1, y1, x2, y2]) => [(left + scale * x1) / ratio, (top + scale * y1) / ratio,
      scale * (x2 - x1) / ratio, scale * (y2 - y1) / ratio];
    context.save();
    context.scale(ratio, ratio);
    for (const track of this.#shown.tracks) {
      this.#drawTrack(context, track, toScreen(track.box));
    }
    if (this.#drag) {
      const {x1, y1, x2, y2} = this.#drag;
      outline(context, toScreen([x1, y1, x2, y2]), '#ffffff', 2, [6, 4]);
    }
    context.restore();
  }

  #drawTrack(context, track, box) {
    const lost = this.#states[track.id] === 'lost';
    const color = colorOf(track.id);
    outline(context, box, color, track.id === this.#selected ? 4 : 2.5, lost ? [7, 5] : []);
    const text = `${track.id}  ${track.confidence.toFixed(2)}${lost ? '  lost' : ''}`;
    drawLabel(context, text, box, color, this.#canvas);
  }

  // ---- pointer ----

  #locate(event) {
    const ratio = window.devicePixelRatio || 1;
    const {scale, left, top} = this.#fit();
    const [width, height] = this.#shown.size;
    const clamp = (value, most) => Math.min(most, Math.max(0, value));
    return [clamp((event.offsetX * ratio - left) / scale, width),
      clamp((event.offsetY * ratio - top) / scale, height)];
  }

  #press(event) {
    if (!this.#shown || event.button !== 0 || !event.isPrimary) return;
    this.#canvas.setPointerCapture(event.pointerId);
    const [x, y] = this.#locate(event);
    this.#byKeys = false;
    this.#drag = {x1: x, y1: y, x2: x, y2: y};
  }

  #move(event) {
    if (!this.#drag || this.#byKeys || !event.isPrimary) return;
    [this.#drag.x2, this.#drag.y2] = this.#locate(event);
    this.draw();
  }

  #release(event) {
    if (!this.#drag || this.#byKeys || !event.isPrimary) return;
    this.#move(event);
    const {x1, y1, x2, y2} = this.#drag;
    const pixel = this.#fit().scale / (window.devicePixelRatio || 1);
    if (Math.hypot(x2 - x1, y2 - y1) * pixel < CLICK) {
      const id = this.#at(x1, y1);
      this.cancel();
      this.#emit('select', id);
    } else {
      this.#send();
    }
  }

  // The smallest box around a point.
  #at(x, y) {
    const area = ({box: [x1, y1, x2, y2]}) => (x2 - x1) * (y2 - y1);
    const around = this.#shown.tracks.filter(({box: [x1, y1, x2, y2]}) =>
      x1 <= x && x <= x2 && y1 <= y && y <= y2);
    return around.sort((a, b) => area(a) - area(b))[0]?.id ?? null;
  }

  // The image stays held while a box is drawn, so the box fits the image it is sent with.
  #send() {
    const {x1, y1, x2, y2} = this.#drag;
    const box = [Math.min(x1, x2), Math.min(y1, y2), Math.max(x1, x2), Math.max(y1, y2)];
    const {stamp, camera} = this.#shown;
    this.cancel();
    if (box[2] - box[0] >= 1 && box[3] - box[1] >= 1) this.#emit('box', {box, stamp, camera});
  }

  // ---- keys ----

  #key(event) {
    const name = event.key.length === 1 ? event.key.toLowerCase() : event.key;
    const action = this.#byKeys ? this.#editKey(name, event.shiftKey) : {
      b: () => this.#startByKeys(),
      Enter: () => this.#startByKeys(),
      ' ': () => this.#emit('pause'),
      n: () => this.#emit('next'),
      Delete: () => this.#emit('remove'),
      Escape: () => { this.cancel(); this.#emit('cancel'); },
    }[name];
    if (!action || event.ctrlKey || event.altKey || event.metaKey) return;
    event.preventDefault();
    action();
  }

  #editKey(name, resize) {
    const [width, height] = this.#shown.size;
    const step = Math.max(width, height) / 100;
    const shift = (dx, dy) => () => {
      const {x1: left, y1: top, x2: right, y2: bottom} = this.#drag;
      const [x1, y1, x2, y2] = moveBox(
        [left, top, right, bottom], dx, dy, resize, [width, height], step);
      this.#drag = {x1, y1, x2, y2};
      this.draw();
    };
    return {ArrowLeft: shift(-step, 0), ArrowRight: shift(step, 0), ArrowUp: shift(0, -step),
      ArrowDown: shift(0, step), Enter: () => this.#send(),
      Escape: () => { this.cancel(); this.#emit('cancel'); }}[name];
  }

  #startByKeys() {
    if (!this.#shown) return;
    const [width, height] = this.#shown.size;
    const track = this.#shown.tracks.find(({id}) => id === this.#selected);
    const [x1, y1, x2, y2] = track?.box
      ?? [width * 3 / 8, height * 3 / 8, width * 5 / 8, height * 5 / 8];
    this.#drag = {x1, y1, x2, y2};
    this.#byKeys = true;
    this.draw();
    this.#emit('editing');
  }

  #emit(type, detail) {
    this.dispatchEvent(new CustomEvent(type, {detail}));
  }
}
