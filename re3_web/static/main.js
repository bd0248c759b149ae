// SPDX-FileCopyrightText: 2026 re3_ros contributors
// SPDX-License-Identifier: Apache-2.0

// The page: connects the image, the lists and the buttons with the server.

import {Connection} from './connection.js';
import {ImageView} from './image.js';
import {Health, MessageList} from './panels.js';
import {ConfidencePlot} from './plot.js';
import {TargetList} from './targets.js';

const HINT = 'Drag a box around an object to track it. Click a box to select its target.';
const ERROR = 2;

const find = (id) => document.getElementById(id);
const connection = new Connection();
const image = new ImageView(find('image'));
const targets = new TargetList(find('targets'), find('target'), find('none'));
const plot = new ConfidencePlot(find('plot'));
const health = new Health(find('health'), find('figures'), find('diagnostics'));
const messages = new MessageList(find('messages'));

let state = {cameras: [], enabled: null, problems: []};
let camera = null;            // name of the camera that is shown
let selected = null;
let restarting = null;        // id of the target whose new box is to be drawn
let paused = false;
let pausedAt = 0;
let connected = 'connecting';
let bufferSeconds = 0;
let imageProblem = '';

const cameraState = () => state.cameras.find(({name}) => name === camera);

// ---- display ----

function watch() {
  const side = paused || document.hidden ? 0 : image.side;
  if (camera !== null) connection.send({type: 'watch', camera, side});
}

function chooseCamera(name) {
  if (name === camera) return;
  camera = name;
  setPaused(false);
  select(null);
  image.clear();
  plot.clear();
  health.clear();
  find('frame-info').textContent = '';
  targets.update([], {});
  find('waiting').hidden = false;
  watch();
  showState();
}

function showCameras() {
  const bar = find('cameras');
  bar.hidden = state.cameras.length < 2;
  const names = state.cameras.map(({name}) => name);
  if (bar.dataset.names !== JSON.stringify(names)) {
    bar.dataset.names = JSON.stringify(names);
    bar.replaceChildren(...names.map((name) => {
      const tab = document.createElement('button');
      tab.type = 'button';
      tab.role = 'tab';
      tab.textContent = name || 'camera';
      tab.addEventListener('click', () => chooseCamera(name));
      return tab;
    }));
  }
  [...bar.children].forEach((tab, index) => {
    tab.setAttribute('aria-selected', String(names[index] === camera));
  });
}

function showProblems() {
  const texts = connected === 'lost'
    ? ['The connection to the page\'s server is lost. Connecting again.']
    : [...state.problems, ...(cameraState()?.problems ?? []), imageProblem].filter(Boolean);
  const text = texts.join('\n');
  const box = find('problem');
  if (box.textContent !== text) box.textContent = text;
  box.hidden = !text;
}

function showState() {
  if (state.cameras.length && !cameraState()) {
    chooseCamera(state.cameras[0].name);
    return;
  }
  showCameras();
  showProblems();
  image.states = cameraState()?.states ?? {};
  health.show(cameraState());
  const enable = find('enable');
  enable.disabled = find('reset').disabled = connected !== 'connected' || state.enabled === null;
  enable.textContent = state.enabled === false ? 'Resume tracking' : 'Stop tracking';
}

function showFrame({header, bitmap, bytes}) {
  if (header.camera !== camera) {
    bitmap?.close();
    return;
  }
  if (bitmap) {
    find('waiting').hidden = true;
    health.received(bitmap, bytes, header.age);
  }
  if ((header.problem ?? '') !== imageProblem) {
    imageProblem = header.problem ?? '';
    showProblems();
  }
  image.show(header, bitmap);
  plot.add(header.tracks);
  const frameInfo = find('frame-info');
  frameInfo.dataset.stamp = header.stamp;
  frameInfo.dataset.number = header.number ?? '';
  targets.update(header.tracks, cameraState()?.states ?? {});
  showMoment(header.number);
}

function showMoment(number) {
  const frameInfo = find('frame-info');
  if (paused) {
    const seconds = (performance.now() - pausedAt) / 1000;
    frameInfo.textContent = `paused ${seconds.toFixed(1)} s ago`
      + (seconds > bufferSeconds ? ', older than the images that the tracker keeps' : '');
  } else {
    frameInfo.textContent = number === null ? 'live' : `frame ${number}`;
  }
}

function showHint() {
  find('hint').textContent = restarting === null ? HINT
    : `Draw the new box of ${restarting}. Esc cancels.`;
}

// ---- operator input ----

function select(id) {
  selected = id;
  image.selected = targets.selected = id;
  if (restarting !== id) setRestarting(null);
}

function setRestarting(id) {
  restarting = id;
  showHint();
}

function setPaused(value) {
  if (paused === value) return;
  paused = value;
  pausedAt = performance.now();
  image.paused = value;
  find('pause').setAttribute('aria-pressed', String(value));
  find('pause').textContent = value ? 'Resume' : 'Pause';
  watch();
}

function request(message) {
  if (!connection.send(message)) messages.add(ERROR, 'not sent: there is no connection');
}

image.addEventListener('box', ({detail: {box, stamp}}) => {
  const id = restarting ?? find('name').value.trim();
  request({type: 'init', camera, id, box: box.map((side) => Math.round(side * 100) / 100), stamp});
  find('name').value = '';
  setRestarting(null);
});
image.addEventListener('select', ({detail}) => select(detail));
image.addEventListener('pause', () => setPaused(!paused));
image.addEventListener('next', () => {
  const {ids} = targets;
  if (ids.length) select(ids[(ids.indexOf(selected) + 1) % ids.length]);
});
image.addEventListener('remove', () => {
  if (selected !== null) request({type: 'remove', camera, id: selected});
});
image.addEventListener('cancel', () => setRestarting(null));
image.addEventListener('editing', () => {
  find('hint').textContent = 'Arrow keys move the box, with Shift they change its size. '
    + 'Enter sends it, Esc cancels.';
});
targets.addEventListener('select', ({detail}) => select(detail));
targets.addEventListener('restart', ({detail}) => {
  setRestarting(detail);
  find('image').focus();
});
targets.addEventListener('remove', ({detail}) => request({type: 'remove', camera, id: detail}));
targets.addEventListener('rename', ({detail: {id, to}}) =>
  request({type: 'rename', camera, id, to}));
find('pause').addEventListener('click', () => setPaused(!paused));
find('enable').addEventListener('click', () =>
  request({type: 'call', service: state.enabled === false ? 'enable' : 'disable'}));
find('reset').addEventListener('click', () => find('confirm').showModal());
find('confirm-no').addEventListener('click', () => find('confirm').close());
find('confirm-yes').addEventListener('click', () => {
  find('confirm').close();
  request({type: 'call', service: 'reset'});
});
document.addEventListener('visibilitychange', watch);
// An image twice as large is not needed at once when the window is being resized.
let resizing = 0;
window.addEventListener('resize', () => {
  clearTimeout(resizing);
  resizing = setTimeout(watch, 300);
});

// ---- messages of the server ----

const RECEIVERS = {
  hello: ({title, buffer_seconds: seconds}) => {
    find('title').textContent = title;
    document.title = `${title}: re3 tracker`;
    bufferSeconds = seconds;
    watch();
  },
  state: (message) => {
    state = message;
    showState();
  },
  notice: ({level, text}) => messages.add(level, text),
  full: ({text}) => messages.add(ERROR, text),
};

connection.addEventListener('message', ({detail}) => RECEIVERS[detail.type]?.(detail));
connection.addEventListener('frame', ({detail}) => showFrame(detail));
connection.addEventListener('change', ({detail}) => {
  connected = detail;
  const texts = {connecting: 'connecting', connected: 'connected', lost: 'connection lost'};
  find('connection').textContent = texts[detail];
  find('connection').dataset.state = detail;
  showState();
});
// The figures of this page fall to nothing without images, too.
setInterval(() => health.show(cameraState()), 1000);
setInterval(() => { if (paused) showMoment(null); }, 200);
showHint();
connection.open();
