/** RFC 4180, and no cell that a spreadsheet would run as a formula. */
export function asCsv<T>(columns: [string, (row: T) => string][], rows: T[]): string {
  const lines = [
    columns.map(([name]) => name),
    ...rows.map((row) => columns.map(([, read]) => read(row))),
  ];
  return lines.map((cells) => cells.map(cell).join(",")).join("\r\n");
}

function cell(value: string): string {
  const safe = /^[=+\-@\t\r]/.test(value) ? `'${value}` : value;
  return /[",\r\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
}

export function download(name: string, content: string): void {
  save(name, new Blob([content], { type: "text/csv;charset=utf-8" }));
}

export function save(name: string, file: Blob): void {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(file);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}
