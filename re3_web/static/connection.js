// SPDX-FileCopyrightText: 2026 re3_ros contributors
// SPDX-License-Identifier: Apache-2.0

// The WebSocket to the server: frames and messages in, requests out, again after it was lost.

const FIRST_RETRY = 500;      // milliseconds
const LAST_RETRY = 5000;

// Events: 'message' (detail: a JSON message), 'frame' (detail: {header, bitmap}, bitmap may be
// null), 'change' (detail: 'connecting', 'connected' or 'lost').
export class Connection extends EventTarget {
  #socket = null;
  #retry = FIRST_RETRY;
  #decoding = Promise.resolve();

  open() {
    this.#emit('change', this.#retry === FIRST_RETRY ? 'connecting' : 'lost');
    const address = new URL('ws', location.href);
    address.protocol = location.protocol === 'https:' ? 'wss:' : 'ws:';
    const socket = new WebSocket(address);
    socket.binaryType = 'arraybuffer';
    socket.onmessage = ({data}) => this.#receive(socket, data);
    socket.onclose = () => this.#reopen(socket);
    this.#socket = socket;
  }

  send(message) {
    if (this.#socket?.readyState !== WebSocket.OPEN) return false;
    this.#socket.send(JSON.stringify(message));
    return true;
  }

  #reopen(socket) {
    if (socket !== this.#socket) return;
    this.#socket = null;
    this.#emit('change', 'lost');
    setTimeout(() => this.open(), this.#retry);
    this.#retry = Math.min(2 * this.#retry, LAST_RETRY);
  }

  #receive(socket, data) {
    if (typeof data !== 'string') {
      // One after the other: decoding takes a different time for each image.
      this.#decoding = this.#decoding.then(() => this.#show(socket, data))
        .catch((error) => {    // connect anew, since frames without an answer are not followed
          console.error(error);
          socket.close();
        });
      return;
    }
    const message = JSON.parse(data);
    if (message.type === 'hello') {
      this.#retry = FIRST_RETRY;
      this.#emit('change', 'connected');
    }
    this.#emit('message', message);
  }

  async #show(socket, data) {
    const length = new DataView(data).getUint32(0);
    const header = JSON.parse(new TextDecoder().decode(new Uint8Array(data, 4, length)));
    const jpeg = new Uint8Array(data, 4 + length);
    let bitmap = null;
    if (jpeg.length) {
      try {
        bitmap = await createImageBitmap(new Blob([jpeg], {type: 'image/jpeg'}));
      } catch {
        header.problem = 'the image cannot be decoded';
      }
    }
    if (socket !== this.#socket) return;
    this.#emit('frame', {header, bitmap, bytes: jpeg.length});
    this.send({type: 'ack', sequence: header.sequence});
  }

  #emit(type, detail) {
    this.dispatchEvent(new CustomEvent(type, {detail}));
  }
}
