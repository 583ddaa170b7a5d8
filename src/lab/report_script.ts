/** A report's only script: one moment, chosen with a slider or by pointing, shown in all panels of a section. Without it
 * nothing is missing but this. It is run as it stands here, so it is plain JavaScript. */
export const REPORT_SCRIPT = `
'use strict';
(() => {
  const { operations, pageSize, rows } = JSON.parse(document.getElementById('timeline').textContent);
  const last = operations[operations.length - 1] || 1;
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  const bytes = (n) => {
    let u = 0;
    while (n >= 1024 && u < 4) { n /= 1024; u++; }
    return (Number.isInteger(n) ? n : n.toPrecision(3)) + ' ' + units[u];
  };
  const count = (n) => n.toLocaleString('en-US');
  const words = {
    memory: (r, i, p) => 'cached ' + bytes(r.cached[i] * p) + ', active ' + bytes(r.active[i] * p) + (r.dirty ? ', dirty ' + bytes(r.dirty[i] * p) : ''),
    bytes: (r, i) => 'read ' + bytes(r.readBytes[i]) + (r.writtenBytes ? ', written ' + bytes(r.writtenBytes[i]) : ''),
    requests: (r, i) => 'reads ' + count(r.reads[i]) + (r.writes ? ', writes ' + count(r.writes[i]) : ''),
  };
  for (const section of document.querySelectorAll('[data-moments]')) {
    const slider = section.querySelector('input');
    const said = section.querySelector('.moment output');
    const frames = [...section.querySelectorAll('.frame')];
    const show = (i) => {
      slider.value = i;
      const text = count(operations[i]) + ' operations';
      said.textContent = text;
      slider.setAttribute('aria-valuetext', text);
      for (const frame of frames) {
        const { row, what } = frame.dataset;
        let line = frame.querySelector('i');
        if (!line) frame.append((line = document.createElement('i')));
        line.style.left = (100 * operations[i]) / last + '%';
        frame.parentElement.querySelector('output').textContent = words[what](rows[row], i, pageSize[row]);
      }
    };
    slider.max = operations.length - 1;
    slider.addEventListener('input', () => show(Number(slider.value)));
    for (const frame of frames)
      frame.addEventListener('pointermove', (event) => {
        const box = frame.getBoundingClientRect();
        const at = ((event.clientX - box.left) / box.width) * last;
        let i = operations.findIndex((n) => n >= at);
        if (i < 0) i = operations.length - 1;
        if (i > 0 && at - operations[i - 1] < operations[i] - at) i--;
        show(i);
      });
    section.querySelector('.moment').hidden = false;
    show(operations.length - 1);
  }
})();
`;
