# shellcheck shell=bash
# One authority for the bed, and a certificate for each part. Made once, kept until `down`.
# Docker's are RSA in the old key format, as minikube's are; the rest are P-256, whose handshake is quicker.

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

# certificate NAME SUBJECT KIND [ALTNAMES] : $PKI/NAME.crt and .key. KIND: server, client, docker-server, docker-client
certificate() {
    local name=$1 subject=$2 kind=$3 names=${4:-} usage
    [[ -s $PKI/$name.crt ]] && return 0
    case $kind in
        docker-*) openssl genrsa -traditional -out "$PKI/$name.key" 2048 2>/dev/null ;;
        *) openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$PKI/$name.key" ;;
    esac
    case $kind in
        *server) usage=serverAuth,clientAuth ;;
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

# service_account_key : what the API server signs service accounts' tokens with
service_account_key() {
    [[ -s $PKI/sa.key ]] && return 0
    openssl genrsa -out "$PKI/sa.new" 2048 2>/dev/null
    mv "$PKI/sa.new" "$PKI/sa.key"
}

# kubeconfig SERVER : for an administrator, on standard output. Cluster, user and context have the profile's name.
kubeconfig() {
    cat <<YAML
apiVersion: v1
kind: Config
clusters:
- name: $PROFILE
  cluster:
    server: $1
    certificate-authority-data: $(base64 -w0 "$PKI/ca.crt")
users:
- name: $PROFILE
  user:
    client-certificate-data: $(base64 -w0 "$PKI/admin.crt")
    client-key-data: $(base64 -w0 "$PKI/admin.key")
contexts:
- name: $PROFILE
  context:
    cluster: $PROFILE
    user: $PROFILE
    namespace: default
current-context: $PROFILE
YAML
}
