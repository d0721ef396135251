# shellcheck shell=bash
# One authority for the bed, and the certificates of the engines that are reached by TLS. Made once, kept until `down`.
# Keys are RSA in the old format, as minikube's are.

PKI=$STATE/pki

# authority : the CA of the whole bed
authority() {
    [[ -s $PKI/ca.crt ]] && return 0
    mkdir -p "$PKI"
    chmod 700 "$PKI"
    openssl genrsa -traditional -out "$PKI/ca.key" 2048 2>/dev/null
    openssl req -x509 -new -key "$PKI/ca.key" -sha256 -days 3650 -subj /CN=stack-testbed-ca \
        -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign,cRLSign,digitalSignature \
        -out "$PKI/ca.new"
    mv "$PKI/ca.new" "$PKI/ca.crt"
}

# certificate NAME SUBJECT KIND [ALTNAMES] : $PKI/NAME.crt and .key. KIND: server or client
certificate() {
    local name=$1 subject=$2 kind=$3 names=${4:-} usage
    [[ -s $PKI/$name.crt ]] && return 0
    openssl genrsa -traditional -out "$PKI/$name.key" 2048 2>/dev/null
    case $kind in
        server) usage=serverAuth,clientAuth ;;
        *) usage=clientAuth ;;
    esac
    openssl req -new -key "$PKI/$name.key" -subj "$subject" -out "$PKI/$name.csr"
    {
        echo "basicConstraints=critical,CA:FALSE"
        echo "keyUsage=critical,digitalSignature,keyEncipherment"
        echo "extendedKeyUsage=$usage"
        [[ -z $names ]] || echo "subjectAltName=$names"
    } | openssl x509 -req -in "$PKI/$name.csr" -CA "$PKI/ca.crt" -CAkey "$PKI/ca.key" -CAcreateserial -sha256 -days 3650 \
        -extfile /dev/stdin -out "$PKI/$name.new" 2>/dev/null
    rm -f -- "$PKI/$name.csr"
    mv "$PKI/$name.new" "$PKI/$name.crt"
}
