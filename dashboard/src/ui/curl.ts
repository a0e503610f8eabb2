/** The first mail, ready to paste. */
export function curlFor(key: string): string {
  return [
    `curl -sS ${location.origin}/api/mail/send \\`,
    `  -H 'x-api-key: ${key}' -H 'content-type: application/json' \\`,
    `  -d '{"to": "delivered@example.com", "subject": "Hello", "text": "It works."}'`,
  ].join("\n");
}
