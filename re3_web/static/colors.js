// SPDX-FileCopyrightText: 2026 re3_ros contributors
// SPDX-License-Identifier: Apache-2.0

// A color for each target id: the palette of Okabe and Ito, readable with color blindness.

const PALETTE = ['#56b4e9', '#e69f00', '#009e73', '#f0e442', '#cc79a7', '#d55e00', '#6f8cff',
  '#9be29b'];

const MEMORY = 60000;    // milliseconds for which a color stays reserved for an id

const assigned = new Map();    // id -> {color, used}

// The same color for an id as long as it is used; ids share one only if there are too many.
export function colorOf(id) {
  const now = performance.now();
  const found = assigned.get(id);
  if (found) {
    found.used = now;
    return found.color;
  }
  for (const [other, {used}] of assigned) if (now - used > MEMORY) assigned.delete(other);
  let hash = 0;
  for (const character of id) hash = (hash * 31 + character.codePointAt(0)) >>> 0;
  const taken = new Set([...assigned.values()].map(({color}) => color));
  const candidates = PALETTE.map((_, step) => PALETTE[(hash + step) % PALETTE.length]);
  const color = candidates.find((candidate) => !taken.has(candidate)) ?? candidates[0];
  assigned.set(id, {color, used: now});
  return color;
}
