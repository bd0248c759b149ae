// SPDX-FileCopyrightText: 2026 re3_ros contributors
// SPDX-License-Identifier: Apache-2.0

// Boxes on a canvas: their outlines and labels, and how keys move them.

const FONT = '600 13px system-ui, sans-serif';

export function outline(context, [x, y, width, height], color, line, dashes) {
  context.setLineDash([]);
  context.lineWidth = line + 2;
  context.strokeStyle = 'rgb(0 0 0 / 55%)';
  context.strokeRect(x, y, width, height);
  context.setLineDash(dashes);
  context.lineWidth = line;
  context.strokeStyle = color;
  context.strokeRect(x, y, width, height);
  context.setLineDash([]);
}

// Draw a text above the box, else below it, so that the target is not covered; inside if the box
// is that high.
export function drawLabel(context, text, [left, y, , boxHeight], color,
  {clientWidth, clientHeight}) {
  context.font = FONT;
  const width = context.measureText(text).width + 12;
  const x = Math.max(1, Math.min(left, clientWidth - width));
  const below = y + boxHeight + 2;
  const top = y > 24 ? y - 22 : below + 20 < clientHeight ? below : Math.max(0, y) + 2;
  context.fillStyle = color;
  context.fillRect(x - 1, top, width, 20);
  context.fillStyle = '#101418';
  context.textBaseline = 'middle';
  context.fillText(text, x + 5, top + 10.5);
}

// Return a box moved within the image, or with `resize` its lower right corner moved.
export function moveBox([x1, y1, x2, y2], dx, dy, resize, [width, height], step) {
  if (!resize) {
    dx = Math.min(width - x2, Math.max(-x1, dx));
    dy = Math.min(height - y2, Math.max(-y1, dy));
    x1 += dx;
    y1 += dy;
  }
  return [x1, y1, Math.min(width, Math.max(x1 + step, x2 + dx)),
    Math.min(height, Math.max(y1 + step, y2 + dy))];
}
