// SPDX-FileCopyrightText: 2026 re3_ros contributors
// SPDX-License-Identifier: Apache-2.0

// The images of the video: fetched when they are shown, the last ones kept, the next one ahead.

const KEPT = 48;

export class FrameStore {
  #side = 1280;
  #kept = new Map();       // frame -> promise of a bitmap, the last used one at the end

  // Larger images are fetched when the canvas has grown.
  set side(side) {
    const wanted = Math.ceil(side / 320) * 320;
    if (wanted <= this.#side) return;
    this.#side = wanted;
    this.#kept.clear();
  }

  // Return a promise of the image; it is rejected if it cannot be read.
  get(frame) {
    const found = this.#kept.get(frame) ?? this.#load(frame);
    this.#kept.delete(frame);
    this.#kept.set(frame, found);
    if (this.#kept.size > KEPT) this.#kept.delete(this.#kept.keys().next().value);
    return found;
  }

  async #load(frame) {
    const response = await fetch(`frames/${frame}?side=${this.#side}`);
    if (!response.ok) {
      this.#kept.delete(frame);
      throw new Error((await response.text()).trim() || response.statusText);
    }
    return createImageBitmap(await response.blob());
  }
}
