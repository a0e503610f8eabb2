import { setNonce } from "get-nonce";

// Imported first: whatever adds a <style> element needs the nonce of this very answer.
const meta = document.querySelector<HTMLMetaElement>('meta[property="csp-nonce"]');

export const nonce = meta?.nonce || meta?.getAttribute("nonce") || "";

setNonce(nonce);
