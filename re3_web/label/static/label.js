// SPDX-FileCopyrightText: 2026 re3_ros contributors
// SPDX-License-Identifier: Apache-2.0

// The label page: connects the image, the timeline, the list and the buttons with the server.

import {FrameView} from './canvas.js';
import {colorOf} from './colors.js';
import {Connection} from './connection.js';
import {FrameStore} from './frames.js';
import {MessageList} from './panels.js';
import {Timeline} from './timeline.js';

const ERROR = 2;
const PLAY_RATE = 25;
const HINT_NEW = 'Drag a box around an object to add a target.';
const HINT_KEY = 'Drag the box or its edges to correct it, or draw it anew.';

const find = (id) => document.getElementById(id);
const connection = new Connection();
const view = new FrameView(find('image'));
const timeline = new Timeline(find('timeline'));
const frames = new FrameStore();
const messages = new MessageList(find('messages'));

let video = {count: 0, size: [16, 9], formats: [], uncertain: .5};
let targets = new Map();     // id -> {label, keys, boxes, confidence, occluded, states, progress}
let frame = 0;
let shown = -1;              // frame whose image is drawn
let selected = null;
let adding = true;           // the next box is a new target
let unconfirmed = 0;         // changes that the server has not stored yet
let connected = 'connecting';
let imageProblem = '';
let player = 0;

// ---- targets ----

const UNKNOWN = 0, SURE = 1, UNCERTAIN = 2, ABSENT = 3;

function statesOf({boxes, confidence}) {
  if (!boxes) return new Array(video.count).fill(UNKNOWN);
  return boxes.map((box, index) => {
    if (!box) return ABSENT;
    return confidence[index] < video.uncertain ? UNCERTAIN : SURE;
  });
}

function receiveTarget({id, label, keys, boxes, confidence, occluded}) {
  const target = {label, keys, boxes, confidence, occluded, progress: null};
  target.states = statesOf(target);
  targets.set(id, target);
  show();
}

const keyFrames = (target) => Object.keys(target.keys).map(Number);
const current = () => targets.get(selected);

// The box of a target in this frame: that of its key, else the one filled in.
function boxAt(target, at) {
  const key = target.keys[at];
  return key ? key.box : target.boxes?.[at] ?? null;
}

function boxesNow() {
  const items = [];
  for (const [id, target] of targets) {
    const box = boxAt(target, frame);
    if (!box) continue;
    items.push({id, box, key: frame in target.keys, occluded: Boolean(target.occluded[frame]),
      uncertain: !(frame in target.keys) && target.states[frame] === UNCERTAIN});
  }
  return items;
}

// ---- display ----

function show() {
  view.ready = frame === shown;
  view.show(null, boxesNow(), adding ? null : selected);
  timeline.show(video.count, frame, [...targets].map(([id, target]) => (
    {id, keys: keyFrames(target), states: target.states})), selected);
  showList();
  showMoment();
  showButtons();
  if (frame !== shown) showImage();
}

async function showImage() {
  const wanted = frame;
  try {
    const bitmap = await frames.get(wanted);
    imageProblem = '';
    if (wanted !== frame) return;
    shown = wanted;
    view.ready = true;
    find('waiting').hidden = true;
    view.show(bitmap, boxesNow(), adding ? null : selected);
    find('frame-info').dataset.shown = String(wanted);
    if (wanted + 1 < video.count) frames.get(wanted + 1).catch(() => {});
  } catch (error) {
    imageProblem = `frame ${wanted}: ${error.message}`;
  }
  showProblems();
}

function showMoment() {
  find('frame-info').textContent = `frame ${frame} / ${video.count - 1}`;
  find('frame-info').dataset.number = String(frame);
}

function showProblems() {
  const texts = [connected === 'lost'
    ? 'The connection to the page\'s server is lost. Connecting again.' : '', imageProblem];
  find('problem').textContent = texts.filter(Boolean).join('\n');
  find('problem').hidden = !texts.some(Boolean);
}

function showHealth() {
  const busy = [...targets].filter(([, target]) => target.progress);
  const progress = busy.map(([id, {progress: [done, total]}]) => `${id}: ${done}/${total} frames`);
  find('health').textContent = unconfirmed ? 'saving'
    : progress.length ? `filling in ${progress.join(', ')}` : 'all saved';
}

function showButtons() {
  const target = adding ? null : current();
  const box = target && boxAt(target, frame);
  find('new').setAttribute('aria-pressed', String(adding));
  find('confirm-box').disabled = !box;
  find('occluded').disabled = !box;
  find('occluded').setAttribute('aria-pressed', String(Boolean(target?.occluded[frame])));
  find('absent').disabled = !target;
  find('unkey').disabled = !(target && frame in target.keys);
  find('hint').textContent = adding ? HINT_NEW : HINT_KEY;
}

function showList() {
  const list = find('targets');
  find('none').hidden = targets.size > 0;
  const items = new Map([...list.children].map((item) => [item.dataset.id, item]));
  for (const [id, item] of items) if (!targets.has(id)) item.remove();
  for (const [id, target] of targets) {
    const item = items.get(id) ?? makeItem(id);
    if (!items.has(id)) list.append(item);
    const keys = keyFrames(target).length;
    const uncertain = target.states.filter((state) => state === UNCERTAIN).length;
    item.dataset.keys = String(keys);
    item.dataset.state = target.boxes && !target.progress ? 'filled' : 'filling';
    item.dataset.box = (boxAt(target, frame) ?? []).join(' ');
    item.querySelector('.state').textContent = `${keys} key${keys === 1 ? '' : 's'}`
      + (uncertain ? `, ${uncertain} uncertain` : '');
    const active = id === selected && !adding;
    item.querySelector('.select').setAttribute('aria-pressed', String(active));
    item.querySelector('.actions').hidden = !active;
    const label = item.querySelector('.class');
    if (document.activeElement !== label) label.value = target.label;
  }
}

function makeItem(id) {
  const item = find('target').content.cloneNode(true).querySelector('li');
  item.dataset.id = id;
  item.querySelector('.swatch').style.background = colorOf(id);
  item.querySelector('.id').textContent = id;
  item.querySelector('.name').value = id;
  item.querySelector('.select').addEventListener('click', () => select(id));
  item.querySelector('.remove').addEventListener('click', () => change({type: 'remove', id}));
  item.querySelector('.rename').addEventListener('submit', (event) => {
    event.preventDefault();
    const to = item.querySelector('.name').value.trim();
    change({type: 'rename', id, to, label: item.querySelector('.class').value.trim()});
    if (id === selected) selected = to;
  });
  return item;
}

// ---- operator input ----

function go(to) {
  if (view.drawing) return;
  frame = Math.min(video.count - 1, Math.max(0, to));
  show();
}

function select(id) {
  selected = id;
  adding = id === null;
  show();
}

function change(message) {
  if (!connection.send(message)) {
    messages.add(ERROR, 'not saved: there is no connection');
    return;
  }
  unconfirmed += 1;
  showHealth();
}

function setKey(box, occluded) {
  const id = adding ? '' : selected;
  change({type: 'key', id, frame, box: box.map((side) => Math.round(side * 100) / 100), occluded});
}

function jump(step, wanted) {
  for (let at = frame + step; at >= 0 && at < video.count; at += step) {
    if (wanted(at)) { go(at); return; }
  }
}

function jumpToKey(step) {
  const keys = new Set(adding ? [...targets.values()].flatMap(keyFrames)
    : keyFrames(current() ?? {keys: {}}));
  jump(step, (at) => keys.has(at));
}

// To the least certain frame of the next uncertain stretch.
function jumpToUncertain(step) {
  const some = adding || !current() ? [...targets.values()] : [current()];
  const uncertain = (at) => some.some(({states}) => states[at] === UNCERTAIN);
  let at = frame;
  while (at >= 0 && at < video.count && uncertain(at)) at += step;
  while (at >= 0 && at < video.count && !uncertain(at)) at += step;
  if (at < 0 || at >= video.count) return;
  const certainty = (place) => Math.min(...some.filter(({states}) => states[place] === UNCERTAIN)
    .map(({confidence}) => confidence[place]));
  let worst = at;
  for (; at >= 0 && at < video.count && uncertain(at); at += step) {
    if (certainty(at) < certainty(worst)) worst = at;
  }
  go(worst);
}

function setPlaying(playing) {
  clearInterval(player);
  player = playing ? setInterval(() => {
    if (shown !== frame) return;        // its image has not come yet
    if (frame + 1 < video.count) go(frame + 1);
    else setPlaying(false);
  }, 1000 / PLAY_RATE) : 0;
  find('play').setAttribute('aria-pressed', String(playing));
}

const actions = {
  back: () => go(frame - 1),
  forward: () => go(frame + 1),
  back10: () => go(frame - 10),
  forward10: () => go(frame + 10),
  'previous-key': () => jumpToKey(-1),
  'next-key': () => jumpToKey(1),
  'previous-uncertain': () => jumpToUncertain(-1),
  'next-uncertain': () => jumpToUncertain(1),
  play: () => setPlaying(!player),
  'new': () => { adding = !adding || selected === null; show(); },
  'confirm-box': () => {
    const box = !adding && current() && boxAt(current(), frame);
    if (box) setKey(box, Boolean(current().occluded[frame]));
  },
  occluded: () => {
    const box = !adding && current() && boxAt(current(), frame);
    if (box) setKey(box, !current().occluded[frame]);
  },
  absent: () => { if (!adding && current()) change({type: 'absent', id: selected, frame}); },
  unkey: () => {
    if (!adding && current() && frame in current().keys) {
      change({type: 'unkey', id: selected, frame});
    }
  },
  undo: () => change({type: 'undo'}),
  redo: () => change({type: 'redo'}),
};

const SHORTCUTS = {
  a: 'back', d: 'forward', A: 'back10', D: 'forward10', ArrowLeft: 'back',
  ArrowRight: 'forward', q: 'previous-key', e: 'next-key', s: 'previous-uncertain',
  w: 'next-uncertain', ' ': 'play', f: 'confirm-box', c: 'occluded', x: 'absent', r: 'unkey',
  t: 'new', z: 'undo', Z: 'redo',
};

for (const name of Object.keys(actions)) find(name)?.addEventListener('click', actions[name]);

document.addEventListener('keydown', (event) => {
  if (event.ctrlKey || event.altKey || event.metaKey) return;
  if (event.target instanceof HTMLInputElement || event.target instanceof HTMLSelectElement) return;
  if (event.key === ' ' && event.target instanceof HTMLButtonElement) return;
  let action = actions[SHORTCUTS[event.key]];
  if (/^[1-9]$/.test(event.key)) {
    const id = [...targets.keys()][Number(event.key) - 1];
    action = id === undefined ? undefined : () => select(id);
  }
  if (!action || (event.repeat && !'aAdDArrowLeftArrowRight'.includes(event.key))) return;
  event.preventDefault();
  action();
});

view.addEventListener('box', ({detail: box}) => {
  const target = adding ? null : current();
  setKey(box, Boolean(target?.occluded[frame]));
});
view.addEventListener('select', ({detail: id}) => select(id));
view.addEventListener('editing', () => {
  find('hint').textContent = 'Arrow keys move the box, with Shift they change its size. '
    + 'Enter sets it, Esc cancels.';
});
view.addEventListener('cancel', showButtons);
timeline.addEventListener('scrub', ({detail}) => go(detail));
timeline.addEventListener('select', ({detail}) => select(detail));

find('export').addEventListener('click', async () => {
  const format = find('format').value;
  const response = await fetch(`export/${format}.zip`);
  if (!response.ok) {
    messages.add(ERROR, (await response.text()).trim());
    return;
  }
  const link = document.createElement('a');
  link.href = URL.createObjectURL(await response.blob());
  link.download = `labels_${format}.zip`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  messages.add(0, `exported as ${format}`);
});

find('import').addEventListener('change', async ({target}) => {
  const [file] = target.files;
  if (!file) return;
  const response = await fetch(`import?name=${encodeURIComponent(file.name)}`,
    {method: 'POST', body: file});
  messages.add(response.ok ? 0 : ERROR, (await response.text()).trim());
  target.value = '';
});

let resizing = 0;
window.addEventListener('resize', () => {
  clearTimeout(resizing);
  resizing = setTimeout(() => { frames.side = view.side; shown = -1; show(); }, 300);
});

// ---- messages of the server ----

const RECEIVERS = {
  hello: (message) => {
    video = message;
    targets = new Map();
    unconfirmed = 0;
    view.size = video.size;
    frames.side = view.side;
    find('title').textContent = video.title;
    document.title = `${video.title}: re3 labels`;
    find('format').replaceChildren(...video.formats.map((name) => new Option(name, name)));
    go(frame);
  },
  target: receiveTarget,
  overview: ({ids, undo, redo}) => {
    targets = new Map(ids.filter((id) => targets.has(id)).map((id) => [id, targets.get(id)]));
    if (selected !== null && !targets.has(selected)) {
      selected = null;
      adding = true;
    }
    find('undo').disabled = !undo;
    find('redo').disabled = !redo;
    show();
    showHealth();
  },
  progress: ({id, done, total}) => {
    const target = targets.get(id);
    if (target) target.progress = [done, total];
    showHealth();
  },
  done: ({id}) => {
    unconfirmed = Math.max(0, unconfirmed - 1);
    if (id && targets.has(id)) select(id);
    showHealth();
  },
  notice: ({level, text}) => {
    if (level === ERROR) unconfirmed = Math.max(0, unconfirmed - 1);
    messages.add(level, text);
    showHealth();
  },
  full: ({text}) => messages.add(ERROR, text),
};

connection.addEventListener('message', ({detail}) => {
  RECEIVERS[detail.type]?.(detail);
  if (detail.type === 'target') showHealth();
});
connection.addEventListener('change', ({detail}) => {
  connected = detail;
  const texts = {connecting: 'connecting', connected: 'connected', lost: 'connection lost'};
  find('connection').textContent = texts[detail];
  find('connection').dataset.state = detail;
  showProblems();
});
connection.open();
