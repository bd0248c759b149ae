// SPDX-FileCopyrightText: 2026 re3_ros contributors
// SPDX-License-Identifier: Apache-2.0

// The list of targets with their state and confidence, and the actions on the selected one.

import {colorOf} from './colors.js';

// Events: 'select' (detail: id or null), 'restart' (detail: id), 'remove' (detail: id), 'rename'
// (detail: {id, to}).
export class TargetList extends EventTarget {
  #list;
  #template;
  #none;
  #items = new Map();
  #selected = null;

  constructor(list, template, none) {
    super();
    this.#list = list;
    this.#template = template;
    this.#none = none;
  }

  get ids() { return [...this.#items.keys()]; }

  // `tracks` are those of the newest frame; `states` also names targets that are not in it yet.
  update(tracks, states) {
    const seen = new Set();
    for (const track of tracks) {
      seen.add(track.id);
      this.#show(this.#items.get(track.id) ?? this.#add(track.id), track,
        states[track.id] ?? 'tracked');
    }
    for (const [id, item] of this.#items) {
      if (seen.has(id)) continue;
      item.remove();
      this.#items.delete(id);
      if (id === this.#selected) this.#emit('select', null);
    }
    this.#none.hidden = this.#items.size > 0;
  }

  set selected(id) {
    this.#selected = id;
    for (const [own, item] of this.#items) this.#mark(own, item);
  }

  #mark(id, item) {
    item.querySelector('.select').setAttribute('aria-pressed', String(id === this.#selected));
    item.querySelector('.actions').hidden = id !== this.#selected;
  }

  #add(id) {
    const item = this.#template.content.firstElementChild.cloneNode(true);
    const find = (selector) => item.querySelector(selector);
    item.dataset.id = id;
    find('.id').textContent = id;
    find('.swatch').style.background = colorOf(id);
    find('.rename input').value = id;
    find('.select').addEventListener('click', () =>
      this.#emit('select', id === this.#selected ? null : id));
    find('.restart').addEventListener('click', () => this.#emit('restart', id));
    find('.remove').addEventListener('click', () => this.#emit('remove', id));
    find('.rename').addEventListener('submit', (event) => {
      event.preventDefault();
      const to = find('.rename input').value.trim();
      if (to && to !== id) this.#emit('rename', {id, to});
    });
    this.#items.set(id, item);
    this.#list.append(item);
    this.#mark(id, item);
    return item;
  }

  #show(item, track, state) {
    item.dataset.state = state;
    item.dataset.box = track.box.join(' ');
    item.querySelector('.state').textContent = state;
    item.querySelector('meter').value = track.confidence;
    item.querySelector('.confidence').textContent = track.confidence.toFixed(2);
    const [x1, y1, x2, y2] = track.box.map(Math.round);
    item.querySelector('.box').textContent =
      `${x2 - x1} × ${y2 - y1} px at x ${x1}, y ${y1}`;
  }

  #emit(type, detail) {
    this.dispatchEvent(new CustomEvent(type, {detail}));
  }
}
